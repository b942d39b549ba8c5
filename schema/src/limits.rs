//! Every limit of the vocabulary and the wire protocol, each with its reason.
//!
//! A peer's message is checked against these before anything is allocated for it.

/// Largest frame (kind + body), bytes. A batch of [`BATCH_BYTES_MAX`] that does not compress at
/// all still fits, with room for its header.
pub const FRAME_BYTES_MAX: usize = BATCH_BYTES_MAX + 64 * 1024;

/// Largest greeting, bytes: its only text is the software's name.
pub const GREETING_BYTES_MAX: usize = 4 * 1024;

/// Largest frame on the control stream and for the first message of any stream, bytes: nothing
/// there carries rows, so a peer that is not yet known cannot make us reserve more than this.
pub const CONTROL_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Largest column block before compression, bytes. Bounds what one batch costs a receiver.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most changes in one batch: row indexes stay in 16 bits and one batch stays a unit of retry.
pub const BATCH_ROWS_MAX: usize = 8_192;

/// Changes a sender aims at per batch: large enough to amortise the envelope, small enough that
/// the memory of hundreds of senders stays small.
pub const BATCH_ROWS_TARGET: usize = 4_096;

/// Uncompressed bytes a sender aims at per batch.
pub const BATCH_BYTES_TARGET: usize = 1024 * 1024;

/// Most columns of a block; the national metadata sets none, the widest known table has 300.
pub const COLUMNS_MAX: usize = 512;

/// Longest key, bytes: a composite of several identifiers, short enough for an index.
pub const KEY_BYTES_MAX: usize = 512;

/// Longest field value, bytes. Larger values travel as files outside the log.
pub const FIELD_BYTES_MAX: usize = 64 * 1024;

/// Longest text of a code, name, reason or other short string in a message, bytes.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Longest detail of a refusal, bytes: all mistakes of a large command, and still a line that a log
/// can take.
pub const DETAIL_BYTES_MAX: usize = 16 * 1024;

/// Most roots that are trusted at the same time. A takeover needs two; more than a handful is a
/// mistake, and every handshake may try them all.
pub const ROOTS_MAX: usize = 16;

/// Most rejected rows named in one acknowledgement; further ones follow in the next.
pub const REJECTIONS_MAX: usize = BATCH_ROWS_MAX;

/// Most depth of a row filter expression: filters are evaluated recursively.
pub const FILTER_DEPTH_MAX: usize = 16;

/// Most terms of a row filter expression.
pub const FILTER_TERMS_MAX: usize = 1_024;

/// Buckets of a digest; a power of two, so that a bucket is a prefix of the key's hash.
pub const DIGEST_BUCKETS: usize = 4_096;
