//! What a producer says about its local transaction.

/// The answer in END_TRANSACTION, by either edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The producer cannot tell yet: ask again.
    Unknown,
    /// The local transaction is committed: deliver the message.
    Commit,
    /// The local transaction is rolled back: never deliver the message.
    Rollback,
}

impl Resolution {
    /// The value of `commitOrRollback` on the wire.
    pub const fn to_wire(self) -> i32 {
        match self {
            Resolution::Unknown => 0,
            Resolution::Commit => 8,
            Resolution::Rollback => 12,
        }
    }

    /// Reads `commitOrRollback`; `None` for a value that RocketMQ does not define.
    pub const fn from_wire(value: i32) -> Option<Self> {
        match value {
            0 => Some(Resolution::Unknown),
            8 => Some(Resolution::Commit),
            12 => Some(Resolution::Rollback),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_values_are_the_transaction_bits_of_the_sys_flag() {
        for (resolution, wire) in [
            (Resolution::Unknown, 0),
            (Resolution::Commit, 8),
            (Resolution::Rollback, 12),
        ] {
            assert_eq!(resolution.to_wire(), wire);
            assert_eq!(Resolution::from_wire(wire), Some(resolution));
        }
        assert_eq!(Resolution::from_wire(4), None);
        assert_eq!(Resolution::from_wire(-8), None);
    }
}
