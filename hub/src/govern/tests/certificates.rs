//! Which certificate is taken, after every order of renewals, revocations and enrolments.

use super::*;

fn renewal(node: &str, replaces: &str, next: &str) -> Command {
    Command::RenewNode {
        department: provider(),
        name: name(node),
        replaces: replaces.into(),
        certificate_serial: next.into(),
        expires: Timestamp::UNIX_EPOCH,
    }
}

fn enrolment(node: &str, serial: &str) -> Command {
    Command::EnrolNode {
        department: provider(),
        department_name: None,
        name: name(node),
        certificate_serial: serial.into(),
        expires: Timestamp::UNIX_EPOCH,
    }
}

fn revocation(node: &str) -> Command {
    Command::RevokeNode {
        department: provider(),
        name: name(node),
        reason: "the key was copied".into(),
    }
}

impl World {
    fn admits(&self, node: &str, serial: &str) -> Result<(), Refused> {
        admits(&self.registry, provider(), &name(node), serial).map(|_| ())
    }

    /// The serial numbers with which the node is let in.
    fn taken(&self, node: &str) -> Vec<&'static str> {
        let all = ["01", "02", "03", "04", "05"];
        all.into_iter().filter(|serial| self.admits(node, serial).is_ok()).collect()
    }
}

#[test]
fn after_a_renewal_the_newest_and_the_one_before_are_taken() {
    let mut world = World::with(&[enrolment("n1", "01")]);
    assert_eq!(world.taken("n1"), ["01"]);
    world.run(&renewal("n1", "01", "02")).expect("renewed");
    assert_eq!(world.taken("n1"), ["01", "02"]);
    // The answer was lost; the node asks again with what it has.
    world.run(&renewal("n1", "01", "03")).expect("renewed");
    assert_eq!(world.taken("n1"), ["01", "03"]);
    world.run(&renewal("n1", "03", "04")).expect("renewed");
    assert_eq!(world.taken("n1"), ["03", "04"]);
    assert_eq!(world.refusal(&renewal("n1", "01", "05")), RefusalCode::Revoked);
    let told = world.admits("n1", "01").expect_err("replaced").to_string();
    assert!(told.contains("another machine") && told.contains("enrol --anew"), "{told}");
}

#[test]
fn a_connection_may_go_on_until_the_certificate_that_it_stands_for_ends() {
    let mut world = World::with(&[enrolment("n1", "01")]);
    let at = |second| Timestamp::from_second(second).expect("a time");
    let mut next = renewal("n1", "01", "02");
    if let Command::RenewNode { expires, .. } = &mut next {
        *expires = at(10);
    }
    world.run(&next).expect("renewed");
    let judged = |serial: &str, second| {
        let node = world.registry.node_named(provider(), &name("n1")).expect("enrolled");
        still_valid(node, serial, at(second))
    };
    let told = judged("01", 0).expect_err("over").to_string();
    for part in ["HT-1010", "n1", "1970-01-01T00:00:00Z", "clock", "hutong-agent status"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(judged("02", 9).is_ok() && judged("02", 10).is_err());
}

#[test]
fn a_revoked_node_is_refused_with_every_certificate_until_it_enrols_anew() {
    let mut world = World::city();
    world.run(&enrolment("n1", "01")).expect("enrolled");
    world.run(&renewal("n1", "01", "02")).expect("renewed");
    world.open(1, 1).expect("opened");
    assert_eq!(world.run(&revocation("n1")).expect("revoked").events.len(), 1);
    assert_eq!(world.run(&revocation("n1")).expect("so already").events, []);
    assert_eq!(world.taken("n1"), Vec::<&str>::new());
    let told = world.admits("n1", "02").expect_err("revoked").to_string();
    for part in ["HT-1007", "the key was copied", "join token", "enrol --anew"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert_eq!(world.refusal(&renewal("n1", "02", "03")), RefusalCode::Revoked);
    assert_eq!(world.refusal(&open(1, 1)), RefusalCode::Revoked);
    assert_eq!(world.refusal(&open(2, 1)), RefusalCode::Leased, "it keeps its lease");

    world.run(&enrolment("n1", "03")).expect("enrolled");
    assert_eq!(world.taken("n1"), ["03"]);
    assert_eq!(world.registry.lease(ResourceNo(1), 0).expect("held").epoch, 1);
    let revoked: Vec<&str> = world.registry.revoked().map(|(serial, _)| serial).collect();
    assert!(["01", "02"].iter().all(|serial| revoked.contains(serial)), "{revoked:?}");
}

#[test]
fn a_department_is_revoked_with_all_its_nodes_and_no_other() {
    let mut world = World::with(&[enrolment("n1", "01"), enrolment("n2", "02")]);
    let foreign = Command::EnrolNode {
        department: other(),
        department_name: None,
        name: name("n1"),
        certificate_serial: "03".into(),
        expires: Timestamp::UNIX_EPOCH,
    };
    world.run(&foreign).expect("enrolled");
    let revoke = |department| Command::RevokeDepartment { department, reason: "dissolved".into() };
    assert_eq!(world.run(&revoke(provider())).expect("revoked").events.len(), 1);
    assert_eq!(world.run(&revoke(provider())).expect("so already").events, []);
    assert!(world.taken("n1").is_empty() && world.taken("n2").is_empty());
    assert!(admits(&world.registry, other(), &name("n1"), "03").is_ok());
    let nobody = "113700000045030270".parse().expect("a published example");
    assert_eq!(world.mistakes(&revoke(nobody)), ["department code"]);
    let silent =
        Command::RevokeNode { department: provider(), name: name("n1"), reason: String::new() };
    assert_eq!(world.mistakes(&silent), ["n1 reason"]);
}

#[test]
fn an_enrolment_with_a_new_token_replaces_all_before() {
    let mut world = World::with(&[enrolment("n1", "01")]);
    world.run(&renewal("n1", "01", "02")).expect("renewed");
    world.run(&enrolment("n1", "03")).expect("enrolled");
    assert_eq!(world.taken("n1"), ["03"]);
}
