//! Bodies that travel compressed: zlib as stock producers write it, and what else a consumer may meet.

use std::io::{Read, Write as _};

use bytes::Bytes;
use escrow_protocol::sysflag;

use crate::message::BODY_BYTES_MAX;

/// Bodies of at least so many bytes are sent compressed, as the Java client does.
pub(crate) const COMPRESS_FROM_BYTES: usize = 4096;
/// The Java client's level.
const ZLIB_LEVEL: u32 = 5;

/// The three ways of [`sysflag::COMPRESSOR_MASK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compressor {
    Zlib,
    Lz4,
    Zstd,
}

impl Compressor {
    fn of(sys_flag: i32) -> Result<Self, String> {
        match (sys_flag & sysflag::COMPRESSOR_MASK) >> 8 {
            // Old producers write 0 for what newer ones call 3.
            0 | 3 => Ok(Self::Zlib),
            1 => Ok(Self::Lz4),
            2 => Ok(Self::Zstd),
            other => Err(format!("body compressed by unknown compressor {other}")),
        }
    }
}

/// A body as it is sent, and the bits of the system flag that say how.
pub(crate) fn compress(body: &Bytes) -> (Bytes, i32) {
    if body.len() < COMPRESS_FROM_BYTES {
        return (body.clone(), 0);
    }
    let level = flate2::Compression::new(ZLIB_LEVEL);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::with_capacity(body.len() / 2), level);
    match encoder.write_all(body).and_then(|()| encoder.finish()) {
        // What does not shrink is spared the work of inflating it.
        Ok(smaller) if smaller.len() < body.len() => {
            (Bytes::from(smaller), sysflag::COMPRESSED | (3 << 8))
        }
        _ => (body.clone(), 0),
    }
}

/// The plain body behind a compressed one. Never makes more than [`BODY_BYTES_MAX`] bytes of it.
///
/// # Errors
/// A text that says why it cannot be inflated.
pub(crate) fn inflate(body: &[u8], sys_flag: i32) -> Result<Bytes, String> {
    let failed = |error: std::io::Error| format!("compressed body: {error}");
    match Compressor::of(sys_flag)? {
        Compressor::Zlib => read_out(flate2::read::ZlibDecoder::new(body)),
        Compressor::Lz4 => read_out(lz4_flex::frame::FrameDecoder::new(body)),
        Compressor::Zstd => read_out(zstd::stream::read::Decoder::new(body).map_err(failed)?),
    }
}

fn read_out(decoder: impl Read) -> Result<Bytes, String> {
    let mut body = Vec::new();
    decoder
        .take(BODY_BYTES_MAX as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|error| format!("compressed body: {error}"))?;
    if body.len() > BODY_BYTES_MAX {
        return Err(format!(
            "compressed body is larger than {BODY_BYTES_MAX} bytes"
        ));
    }
    Ok(Bytes::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deflated(body: &[u8]) -> Vec<u8> {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(body: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        zstd::encode_all(body, 0).unwrap()
    }

    type Encode = fn(&[u8]) -> Vec<u8>;
    const ALL: [(i32, Encode); 4] = [
        (0x1, deflated),
        (0x301, deflated),
        (0x101, lz4),
        (0x201, zstd),
    ];

    #[test]
    fn every_compressor_of_the_protocol_is_inflated() {
        let body = b"order ".repeat(5000);
        for (flag, encode) in ALL {
            assert_eq!(inflate(&encode(&body), flag).unwrap(), body, "{flag:#x}");
        }
    }

    #[test]
    fn a_body_may_inflate_to_the_limit_and_not_beyond() {
        for (flag, encode) in ALL {
            let largest = vec![7; BODY_BYTES_MAX];
            assert_eq!(
                inflate(&encode(&largest), flag).unwrap().len(),
                BODY_BYTES_MAX
            );
            let bomb = vec![7; BODY_BYTES_MAX + 1];
            let error = inflate(&encode(&bomb), flag).unwrap_err();
            assert!(error.contains("larger than"), "{flag:#x}: {error}");
        }
    }

    #[test]
    fn garbage_and_unknown_compressors_are_told() {
        for flag in [0x1, 0x101, 0x201, 0x301] {
            assert!(
                inflate(b"garbage that nobody wrote", flag).is_err(),
                "{flag:#x}"
            );
        }
        assert!(inflate(b"x", 0x401).unwrap_err().contains("compressor 4"));
    }

    #[test]
    fn a_large_body_is_sent_compressed_if_that_makes_it_smaller() {
        let small = Bytes::from(vec![b'a'; COMPRESS_FROM_BYTES - 1]);
        assert_eq!(compress(&small), (small.clone(), 0));
        let large = Bytes::from(vec![b'a'; COMPRESS_FROM_BYTES]);
        let (sent, flag) = compress(&large);
        assert_eq!(flag, 0x301);
        assert!(sent.len() < 200);
        assert_eq!(inflate(&sent, flag).unwrap(), large);
        let mut state = 1u32;
        let noise: Bytes = (0..COMPRESS_FROM_BYTES)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        assert_eq!(compress(&noise), (noise.clone(), 0));
    }
}
