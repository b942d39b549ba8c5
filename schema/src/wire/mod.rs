//! The wire protocol: framing, encoding, version negotiation, every message and which may come when. The
//! normative text is `schema/src/wire/PROTOCOL.md`.

pub mod codec;
pub mod frame;
pub mod order;
pub mod v1;
pub mod version;
