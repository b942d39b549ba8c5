//! The wire protocol: framing, encoding, version negotiation and every message. The normative text
//! is `schema/src/wire/PROTOCOL.md`.

pub mod codec;
pub mod frame;
pub mod v1;
pub mod version;
