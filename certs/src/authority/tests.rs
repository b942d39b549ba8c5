use super::*;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn exchange() -> ExchangeName {
    "tieling.example".parse().unwrap()
}

fn node(name: &str) -> NodeIdentity {
    NodeIdentity {
        exchange: exchange(),
        department: "11100000000013338W".parse().unwrap(),
        node: name.parse().unwrap(),
    }
}

fn request() -> Vec<u8> {
    PrivateKey::generate().unwrap().signing_request().unwrap()
}

#[test]
fn an_authority_survives_its_folder_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    let authority = Authority::create(&exchange(), now()).unwrap();
    authority.save(&ca).unwrap();
    assert!(matches!(authority.save(&ca), Err(AuthorityError::Exists(_))));

    let read = Authority::load(&ca).unwrap();
    assert_eq!(read.exchange(), &exchange());
    assert_eq!(read.fingerprint(), authority.fingerprint());
    assert_eq!(read.load_roots(&ca).unwrap().certificates(), [authority.root().clone()]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&ca.join(KEY_FILE)), 0o600);
        assert_eq!(mode(&ca), 0o700);
    }
}

#[test]
fn files_of_two_authorities_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    Authority::create(&exchange(), now()).unwrap().save(&one).unwrap();
    Authority::create(&exchange(), now()).unwrap().save(&two).unwrap();
    std::fs::copy(two.join(KEY_FILE), one.join(KEY_FILE)).unwrap();
    assert!(matches!(Authority::load(&one), Err(AuthorityError::KeyMismatch)));
    std::fs::write(one.join(CERTIFICATE_FILE), "").unwrap();
    assert!(matches!(Authority::load(&one), Err(AuthorityError::NotAnAuthority)));
}

#[test]
fn a_node_certificate_says_what_the_authority_decided() {
    let authority = Authority::create(&exchange(), now()).unwrap();
    let issued = authority.issue_node(&request(), &node("n0001"), now(), NODE_VALIDITY).unwrap();
    let facts = &issued.facts;
    assert_eq!(facts.node(), Some(&node("n0001")));
    assert_eq!(facts.not_before, now() - BACKDATE);
    assert_eq!(facts.not_after, now() + NODE_VALIDITY);
    assert_eq!(facts.serial.as_bytes().len(), 16);

    let again = authority.issue_node(&request(), &node("n0001"), now(), NODE_VALIDITY).unwrap();
    assert_ne!(again.facts.serial, facts.serial);
}

#[test]
fn nodes_of_another_exchange_get_nothing() {
    let authority = Authority::create(&exchange(), now()).unwrap();
    let stranger = NodeIdentity { exchange: "other.example".parse().unwrap(), ..node("n0001") };
    let refused = authority.issue_node(&request(), &stranger, now(), NODE_VALIDITY);
    assert!(matches!(refused, Err(AuthorityError::OtherExchange { .. })));
}

#[test]
fn nothing_outlives_the_root() {
    let authority = Authority::create(&exchange(), now()).unwrap();
    let late = now() + ROOT_VALIDITY - SignedDuration::from_hours(1);
    let issued = authority.issue_node(&request(), &node("n0001"), late, NODE_VALIDITY).unwrap();
    assert_eq!(issued.facts.not_after, now() + ROOT_VALIDITY);
    let over = authority.issue_node(&request(), &node("n1"), now() + ROOT_VALIDITY, NODE_VALIDITY);
    assert!(matches!(over, Err(AuthorityError::RootExpired(_))));
}

#[test]
fn the_hub_may_have_many_names_of_both_kinds() {
    let authority = Authority::create(&exchange(), now()).unwrap();
    let mut names: Vec<HubName> =
        (0..100).map(|i| HubName::Dns(format!("hub{i}.example"))).collect();
    names.extend((0..100).map(|i| HubName::from(format!("192.0.2.{i}").as_str())));
    names.push("2001:db8::1".into());
    let hub = authority.issue_hub(&names, now(), HUB_VALIDITY).unwrap();
    assert_eq!(hub.facts().identity, Identity::Hub(exchange()));
    for bad in ["", "a b", "铁岭.example", "-a.example"] {
        let refused = authority.issue_hub(&[bad.into()], now(), HUB_VALIDITY);
        assert!(matches!(refused, Err(AuthorityError::Name(_))), "{bad}");
    }
}
