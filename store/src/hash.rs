//! Hashes that are written to disk, so they can never change: key hashes, queue hashes and the checksum.

/// CRC-32C (Castagnoli), the checksum of everything the store writes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

const SEED: u64 = 0x51_7C_C1_B7_27_22_0A_95;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(MULTIPLIER);
    product ^ (product >> 32)
}

fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = words
        .iter()
        .fold(SEED, |state, word| mix(state, u64::from_le_bytes(*word)));
    let mut last = [0_u8; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    state = mix(state, u64::from_le_bytes(last));
    mix(state, crate::ids::wide(bytes.len()))
}

/// Hash of a `UNIQ_KEY` or of one word of `KEYS`. A half message's entry carries the one of its `UNIQ_KEY`.
pub fn key_hash(key: &str) -> u64 {
    hash(key.as_bytes())
}

/// Under what the key index files a key of a topic.
pub(crate) fn index_hash(topic: &str, key_hash: u64) -> u64 {
    mix(hash(topic.as_bytes()), key_hash)
}

/// Names a topic in a record header.
pub(crate) fn topic_hash(topic: &str) -> u64 {
    hash(topic.as_bytes())
}

/// Names a topic's queue in a record header, so that a message whose body is damaged still keeps its place.
pub(crate) fn queue_hash(topic: &str, queue_id: i32) -> u64 {
    mix(
        hash(topic.as_bytes()),
        u64::from(queue_id.cast_unsigned()) | 1 << 32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_on_disk_never_change() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        let hashes = [
            key_hash(""),
            key_hash("K"),
            key_hash("7F00000100002A9F0000000000001234"),
            topic_hash("T"),
        ];
        let golden = include_str!("hash/golden.txt");
        let text: Vec<String> = hashes.iter().map(|hash| format!("{hash:016x}")).collect();
        assert_eq!(text, golden.split_whitespace().collect::<Vec<_>>());
        assert_ne!(queue_hash("T", 0), queue_hash("T", 1));
        assert_ne!(queue_hash("T", 0), topic_hash("T"));
        assert_ne!(
            index_hash("T", key_hash("K")),
            index_hash("U", key_hash("K"))
        );
    }
}
