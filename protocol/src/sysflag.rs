//! Bit sets: the system flag of a message record, of a pull request, and the permissions of a topic.

/// The body is compressed; [`COMPRESSOR_MASK`] says how.
pub const COMPRESSED: i32 = 0x1;
/// Several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// A half message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// A message that was committed by END_TRANSACTION.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A message that was rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The two transaction bits.
pub const TRANSACTION_MASK: i32 = 0xC;
/// The born host has 16 address bytes.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host has 16 address bytes.
pub const STORE_HOST_V6: i32 = 0x20;
/// The bits that say how long the two hosts are; they belong to the record's layout.
pub const HOST_MASK: i32 = BORN_HOST_V6 | STORE_HOST_V6;
/// The record wraps several messages and must be unwrapped by the consumer.
pub const NEED_UNWRAP: i32 = 0x40;
/// The record holds an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// Where the compressor's number sits: 0 and 3 zlib, 1 LZ4, 2 Zstandard.
pub const COMPRESSOR_MASK: i32 = 0x700;

/// The same flag with its transaction bits replaced; `transaction` is one of the `TRANSACTION_` values or 0.
pub const fn with_transaction(flag: i32, transaction: i32) -> i32 {
    (flag & !TRANSACTION_MASK) | (transaction & TRANSACTION_MASK)
}

/// Bits of a pull request's `sysFlag`.
pub mod pull {
    /// `commitOffset` is to be stored.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// The broker may hold the request until a message arrives.
    pub const SUSPEND: i32 = 0x2;
    /// The header carries the subscription.
    pub const SUBSCRIPTION: i32 = 0x4;
    /// Class filter (obsolete).
    pub const CLASS_FILTER: i32 = 0x8;
    /// Sent by a lite pull consumer.
    pub const LITE_PULL: i32 = 0x10;
}

/// Bits of a topic's permission.
pub mod perm {
    /// The topic may serve as the pattern for auto-created ones.
    pub const INHERIT: i32 = 1;
    /// Messages may be sent.
    pub const WRITE: i32 = 2;
    /// Messages may be consumed.
    pub const READ: i32 = 4;
    /// Priority (unused by clients).
    pub const PRIORITY: i32 = 8;

    /// True for a value that RocketMQ lets a topic have.
    pub const fn is_valid(perm: i32) -> bool {
        perm >= 0 && perm < PRIORITY
    }

    /// True if messages may be consumed.
    pub const fn is_readable(perm: i32) -> bool {
        perm & READ == READ
    }

    /// True if messages may be sent.
    pub const fn is_writable(perm: i32) -> bool {
        perm & WRITE == WRITE
    }

    /// True if auto-created topics may take after this one.
    pub const fn is_inherited(perm: i32) -> bool {
        perm & INHERIT == INHERIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_bits_are_replaced_and_nothing_else() {
        let flag = COMPRESSED | BORN_HOST_V6 | TRANSACTION_PREPARED | 0x300;
        assert_eq!(
            with_transaction(flag, TRANSACTION_COMMIT),
            COMPRESSED | BORN_HOST_V6 | 0x8 | 0x300
        );
        assert_eq!(with_transaction(flag, 0), COMPRESSED | BORN_HOST_V6 | 0x300);
    }

    #[test]
    fn permissions_are_three_bits() {
        assert!(perm::is_valid(0) && perm::is_valid(6) && perm::is_valid(7));
        assert!(!perm::is_valid(8) && !perm::is_valid(-1));
        assert!(perm::is_readable(6) && perm::is_writable(6) && !perm::is_inherited(6));
    }
}
