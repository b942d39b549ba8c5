//! Version 1 of the messages.
//!
//! Enums grow at the end only, structs not at all: a change of a message is a new message or a new
//! version. The register of frame kinds is [`kind`].

pub mod ask;
pub mod command;
pub mod control;
pub mod health;
pub mod json;
pub mod publish;
pub mod refusal;
pub mod subscribe;

pub use json::Json;
pub use refusal::{Ran, RefusalCode, Refused};

/// The register of frame kinds. A number is never used twice.
pub mod kind {
    #![allow(missing_docs)]
    pub const HELLO: u8 = 0x01;
    pub const WELCOME: u8 = 0x02;
    pub const REFUSED: u8 = 0x03;
    pub const HEARTBEAT: u8 = 0x04;
    pub const HEARTBEAT_REPLY: u8 = 0x05;
    pub const GOODBYE: u8 = 0x06;
    pub const GRANTS_CHANGED: u8 = 0x07;
    pub const DIGEST_ASK: u8 = 0x08;
    pub const DIGEST_ANSWER: u8 = 0x09;
    pub const REPUBLISH: u8 = 0x0A;
    pub const ROOTS_HELD: u8 = 0x0B;
    pub const TRUSTED_ROOTS: u8 = 0x0C;
    pub const HEALTH: u8 = 0x0D;

    pub const PUBLISH_OPEN: u8 = 0x10;
    pub const PUBLISH_READY: u8 = 0x11;
    pub const BATCH: u8 = 0x12;
    pub const ACK: u8 = 0x13;
    pub const PUBLISH_CLOSE: u8 = 0x14;

    pub const SUBSCRIBE_OPEN: u8 = 0x20;
    pub const SUBSCRIBE_READY: u8 = 0x21;
    pub const SNAPSHOT_CHUNK: u8 = 0x22;
    pub const SNAPSHOT_END: u8 = 0x23;
    pub const TAIL_BATCH: u8 = 0x24;
    pub const CHECKPOINT_MARK: u8 = 0x25;
    pub const WITHDRAWN: u8 = 0x26;
    pub const REPAIR: u8 = 0x27;
    pub const CREDIT: u8 = 0x28;
    pub const CHECKPOINT_REPORT: u8 = 0x29;

    pub const LOOKUP: u8 = 0x30;
    pub const LOOKUP_ANSWER: u8 = 0x31;
    pub const VERIFY: u8 = 0x32;
    pub const VERIFY_ANSWER: u8 = 0x33;

    pub const CATALOGUE_APPLY: u8 = 0x40;
    pub const CATALOGUE_APPLIED: u8 = 0x41;
    pub const CATALOGUE_LIST: u8 = 0x42;
    pub const CATALOGUE_PAGE: u8 = 0x43;
    pub const GRANT_LIST: u8 = 0x44;
    pub const GRANT_PAGE: u8 = 0x45;

    pub const ENROL: u8 = 0x60;
    pub const ENROLLED: u8 = 0x61;
    pub const RENEW: u8 = 0x62;
    pub const CLOCK_ASK: u8 = 0x63;
    pub const CLOCK_TOLD: u8 = 0x64;
}

macro_rules! messages {
    ($($type:ty => $kind:ident),+ $(,)?) => {
        $(impl $crate::wire::frame::Message for $type {
            const KIND: u8 = $crate::wire::v1::kind::$kind;
        })+
    };
}
pub(crate) use messages;
