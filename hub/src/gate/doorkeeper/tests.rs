//! Who comes in, and who has to wait or go.

use super::*;

fn keeper(change: impl FnOnce(&mut GateLimits)) -> Doorkeeper {
    let mut limits = GateLimits::default();
    change(&mut limits);
    Doorkeeper::new(Arc::new(limits))
}

fn from(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 4_433)
}

fn enter(keeper: &Doorkeeper, address: &str, proven: bool) -> Stay {
    let knock = keeper.knock(from(address), proven, Instant::now());
    let Knock::Enter(stay) = knock else { panic!("{knock:?}") };
    stay
}

fn refused(keeper: &Doorkeeper, address: &str) -> Crowd {
    let knock = keeper.knock(from(address), true, Instant::now());
    let Knock::Refuse(crowd) = knock else { panic!("{knock:?}") };
    crowd
}

#[test]
fn above_a_number_of_handshakes_addresses_are_to_be_proven_and_then_come_in() {
    let keeper = keeper(|limits| (limits.retry_above, limits.handshakes) = (2, 5));
    let half_open: Vec<Stay> = (0..3).map(|_| enter(&keeper, "192.0.2.1", false)).collect();
    let verdict = keeper.knock(from("192.0.2.2"), false, Instant::now());
    assert!(matches!(verdict, Knock::Prove), "{verdict:?}");
    let genuine = enter(&keeper, "192.0.2.2", true);
    drop((half_open, genuine));
    assert_eq!(keeper.counts().0, 0);
}

#[test]
fn one_address_takes_neither_all_handshakes_nor_all_connections() {
    let keeper = keeper(|limits| {
        (limits.handshakes_per_address, limits.connections_per_address) = (2, 3);
    });
    let mut stays: Vec<Stay> = (0..2).map(|_| enter(&keeper, "192.0.2.1", true)).collect();
    assert_eq!(refused(&keeper, "192.0.2.1"), Crowd::AddressHandshakes);
    // Whoever cannot prove to be there is not counted against the address.
    let verdict = keeper.knock(from("192.0.2.1"), false, Instant::now());
    assert!(matches!(verdict, Knock::Prove), "{verdict:?}");
    enter(&keeper, "192.0.2.2", true).connected(Instant::now()).unwrap();
    stays.iter_mut().for_each(|stay| stay.connected(Instant::now()).unwrap());
    let mut third = enter(&keeper, "192.0.2.1", true);
    third.connected(Instant::now()).unwrap();
    assert_eq!(refused(&keeper, "192.0.2.1"), Crowd::AddressConnections);
    drop((stays, third));
    assert_eq!(keeper.counts().1, 0);
    enter(&keeper, "192.0.2.1", true);
}

#[test]
fn one_address_cannot_keep_the_hub_busy_with_handshakes() {
    let keeper = keeper(|limits| {
        (limits.connects_per_second, limits.connects_burst) = (1, 3);
    });
    (0..3).for_each(|_| drop(enter(&keeper, "2001:db8::1", true)));
    assert_eq!(refused(&keeper, "2001:db8::2"), Crowd::AddressRate);
    let verdict = keeper.knock(from("2001:db8::2"), false, Instant::now());
    assert!(matches!(verdict, Knock::Prove), "{verdict:?}");
    drop(enter(&keeper, "2001:db8:0:1::1", true));
}

#[test]
fn one_certificate_has_few_connections_and_enrolments_are_few() {
    let keeper = keeper(|limits| {
        (limits.connections_per_node, limits.enrolments_per_address) = (1, 1);
    });
    let node = || ("11100000000013338W".parse().unwrap(), "n1".parse().unwrap());
    let mut first = enter(&keeper, "192.0.2.1", true);
    assert_eq!(first.belongs_to(node()), Ok(()));
    let mut second = enter(&keeper, "192.0.2.2", true);
    assert_eq!(second.belongs_to(node()), Err(Crowd::Node));
    drop((first, second));
    assert_eq!(enter(&keeper, "192.0.2.3", true).belongs_to(node()), Ok(()));
    let (mut third, mut fourth) =
        (enter(&keeper, "192.0.2.4", true), enter(&keeper, "192.0.2.4", true));
    assert_eq!(third.enrols(), Ok(()));
    assert_eq!(fourth.enrols(), Err(Crowd::AddressEnrolments));
}

#[test]
fn addresses_from_which_nobody_comes_any_more_are_forgotten() {
    let keeper = keeper(|_| {});
    for number in 0..3 * ADDRESSES_KEPT {
        let address = format!("192.0.{}.{}", number / 250, number % 250);
        enter(&keeper, &address, false);
    }
    let kept = keeper.state.lock().addresses.len();
    assert!(kept <= ADDRESSES_KEPT + 1, "{kept}");
}
