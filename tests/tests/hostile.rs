//! What a hostile or broken department can do to a hub: it is refused, with a code and a count, and
//! nobody else notices. 99 of 100 acknowledgements of an honest node take less than a second all the
//! while, memory stays under a stated cap, and everything that was taken comes back. `make soak` does it
//! at a larger size, `HUTONG_HOSTILE_CONNECTIONS` (20,000).

use std::env;

use anyhow::Result;
use hutong_tests::hostile::{attacks, siege};

#[test]
fn garbage_broken_frames_bombs_and_nesting_are_refused() -> Result<()> {
    siege("", |siege| {
        siege.repeat("garbage", attacks::garbage)?;
        siege.repeat("broken_frames", attacks::broken_frames)?;
        siege.repeat("bombs", attacks::bombs)?;
        siege.repeat("nesting", attacks::nesting)
    })
}

#[test]
fn slow_peers_hold_no_more_than_their_share() -> Result<()> {
    siege("", |siege| {
        siege.play("frames_never_finished", attacks::frames_never_finished)?;
        siege.play("streams_left_and_reset", attacks::streams_left_and_reset)?;
        siege.play("slow_readers", attacks::slow_readers)?;
        siege.play("silent_subscribers", attacks::silent_subscribers)
    })
}

#[test]
fn crowds_at_the_door_do_not_shut_others_out() -> Result<()> {
    crowds(1_000)
}

#[test]
#[ignore = "a large size: make soak"]
fn soak_of_crowds_at_the_door() -> Result<()> {
    let wished = env::var("HUTONG_HOSTILE_CONNECTIONS").ok();
    crowds(wished.and_then(|text| text.parse().ok()).unwrap_or(20_000))
}

fn crowds(connections: usize) -> Result<()> {
    // One address sends all of them.
    let settings = "connects_per_second = 100000\nconnects_burst = 100000\n\
                    handshakes = 200\nretry_above = 40\nenrolments_per_address = 20\n\
                    [enrolment]\ntimeout_seconds = 3\n";
    siege(settings, |siege| {
        siege.play("half_open_handshakes", attacks::half_open_handshakes)?;
        siege.play("crowd_with_one_certificate", |siege| {
            attacks::crowd_with_one_certificate(siege, connections)
        })?;
        siege.play("enrolment_door", attacks::enrolment_door)
    })
}

#[test]
fn a_department_gets_its_share_of_questions_commands_and_room() -> Result<()> {
    let (burst, rate, rows) = (100, 20, 3_000);
    let code = hutong_tests::harness::entries::department_code(1)?;
    let settings = format!(
        "questions_per_second = {rate}\nquestions_burst = {burst}\n\
         commands_per_second = {rate}\ncommands_burst = {burst}\n\
         [quota.departments.{code}]\nrows = {rows}\n"
    );
    siege(&settings, |siege| {
        siege.play("questions", |siege| attacks::questions(siege, burst, rate))?;
        siege.play("commands", |siege| attacks::commands(siege, burst, rate))?;
        siege.play("fill_the_quota", |siege| attacks::fill_the_quota(siege, rows))
    })
}
