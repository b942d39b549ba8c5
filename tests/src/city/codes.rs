//! Identifiers with valid check digits, made by the exchange's own types.
//!
//! Organisation bodies begin with HT and a letter for the kind, so that none is a real body's.

use anyhow::{Context, Result};
use hutong_schema::ids::{CitizenId, CreditCode, Division, OrganisationCode};

use super::dates::Day;

/// A citizen ID; `sequence` is 1..=999, odd for men.
pub(super) fn citizen(at: u32, born: Day, sequence: u16) -> Result<CitizenId> {
    CitizenId::from_parts(division(at)?, born.date()?, sequence)
        .with_context(|| format!("citizen {sequence} of {at} born {born}"))
}

/// The credit code of a department: authority and kind 11 (机构编制, 机关).
pub(super) fn department(at: u32, number: u64) -> Result<CreditCode> {
    credit_code(('1', '1'), at, body(b'B', number)?)
}

/// The credit code of a company: authority and kind 91 (市场监管, 企业).
pub(super) fn company(at: u32, number: u64) -> Result<CreditCode> {
    credit_code(('9', '1'), at, body(b'Q', number)?)
}

/// An organisation code; numbers wrap at 100,000.
pub(super) fn organisation(number: u64) -> Result<OrganisationCode> {
    body(b'R', number)
}

fn credit_code(of: (char, char), at: u32, body: OrganisationCode) -> Result<CreditCode> {
    CreditCode::from_parts(of.0, of.1, division(at)?, body)
        .with_context(|| format!("credit code of {body} at {at}"))
}

fn body(kind: u8, number: u64) -> Result<OrganisationCode> {
    let mut body = *b"HT000000";
    body[2] = kind;
    digits(&mut body[3..], number);
    OrganisationCode::from_body(&body).with_context(|| format!("organisation {number}"))
}

fn division(code: u32) -> Result<Division> {
    let mut text = [0; 6];
    digits(&mut text, code.into());
    Division::from_digits(text).with_context(|| format!("division {code}"))
}

/// The last digits of a number, with leading zeros.
fn digits(out: &mut [u8], mut number: u64) {
    for place in out.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
