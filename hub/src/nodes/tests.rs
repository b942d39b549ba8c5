//! Presence, copies, and who is thrown out.

use super::*;

fn arrival(place: u8, run: u8) -> Arrival {
    Arrival {
        department: "11100000000013338W".parse().unwrap(),
        instance: [[place; 8], [run; 8]].concat().try_into().unwrap(),
        software: "test".into(),
        address: ([127, 0, 0, 1], 1).into(),
        since_ms: 0,
        clock_skew_ms: 0,
        serial: "0a".into(),
    }
}

fn silent() -> Pulse {
    Pulse::new(|| 0)
}

fn arrive(nodes: &Nodes, place: u8, run: u8) -> Result<Visit, Elsewhere> {
    nodes.arrive(NodeNo(1), arrival(place, run), silent())
}

#[test]
fn a_copy_of_a_connected_node_is_refused_but_its_own_return_is_not() {
    let nodes = Nodes::new();
    let first = arrive(&nodes, 1, 1).unwrap();
    assert!(arrive(&nodes, 2, 2).is_err(), "another machine");
    let second = arrive(&nodes, 1, 1).unwrap();
    drop(first);
    assert_eq!(nodes.count(), 1, "the older visit's end does not remove the newer one");
    drop(second);
    assert_eq!(nodes.count(), 0);
    assert!(arrive(&nodes, 2, 2).is_ok());
}

#[test]
fn a_process_that_was_replaced_and_comes_back_has_a_copy() {
    let nodes = Nodes::new();
    let _first = arrive(&nodes, 1, 1).unwrap();
    let _started_again = arrive(&nodes, 1, 2).unwrap();
    let _reconnected = arrive(&nodes, 1, 2).unwrap();
    assert!(arrive(&nodes, 1, 1).is_err(), "both are alive");
    assert!(arrive(&nodes, 1, 3).is_ok(), "and once more");
}

#[tokio::test]
async fn who_does_not_answer_has_lost_its_place() {
    let nodes = Nodes::new();
    let first = arrive(&nodes, 1, 1).unwrap();
    let in_the_way = arrive(&nodes, 2, 2).unwrap_err();
    assert!(!nodes.answers(NodeNo(1), &in_the_way).await);
    assert_eq!(first.thrown_out().await.reason(), Some(RefusalCode::Elsewhere));
    let _second = arrive(&nodes, 2, 2).unwrap();
    drop(first);
    assert_eq!(nodes.count(), 1);

    let beats = Arc::new(AtomicU64::new(0));
    let living = Pulse::new(move || beats.fetch_add(1, Ordering::Relaxed));
    let nodes = Nodes::new();
    let _first = nodes.arrive(NodeNo(1), arrival(1, 1), living).unwrap();
    let in_the_way = arrive(&nodes, 2, 2).unwrap_err();
    assert!(nodes.answers(NodeNo(1), &in_the_way).await);
    assert_eq!(nodes.count(), 1);
}

#[test]
fn a_copy_is_news_once_and_is_remembered_for_a_while() {
    let nodes = Nodes::new();
    let from = |port| SocketAddr::from(([127, 0, 0, 1], port));
    assert!(nodes.saw_copy(NodeNo(1), from(1), 0));
    assert!(!nodes.saw_copy(NodeNo(1), from(1), 30_000));
    assert!(nodes.saw_copy(NodeNo(1), from(2), 30_000));
    assert_eq!(nodes.copied(COPY_REMEMBERED_MS), 1);
    assert_eq!(nodes.copied(COPY_REMEMBERED_MS + 30_001), 0);
    assert_eq!(nodes.copy_of(NodeNo(1)).unwrap().address, from(2));
}

#[test]
fn a_node_is_judged_by_the_certificate_that_it_stands_for_now() {
    let nodes = Nodes::new();
    let visit = arrive(&nodes, 1, 1).unwrap();
    nodes.renewed(NodeNo(1), "0a", "0b");
    let refuse = |taken: &'static str| {
        move |serial: &str| match serial == taken {
            true => Ok(()),
            false => Err(Refused::new(RefusalCode::Revoked, "test")),
        }
    };
    nodes.judge(NodeNo(1), refuse("0b"));
    assert!(visit.out.borrow().is_none());
    nodes.judge(NodeNo(1), refuse("0c"));
    assert!(visit.out.borrow().is_some());
}
