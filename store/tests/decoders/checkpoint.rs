//! A checkpoint of any content. The first byte says which folder it lies in and whether what follows are the bytes behind the
//! checkpoint's head, or changes to the good one: place, then length and bytes that stand there instead.

use escrow_store::MemoryDisk;

use super::input::Input;
use super::{folder, seal};

const HEAD: &[u8] = b"ESCROWCP\0\0\0\0\x02\0\0\0";

pub(super) fn write(data: &[u8]) -> MemoryDisk {
    let mut input = Input::new(data);
    let first = input.u8();
    let disk = folder::good(first);
    let names = disk.names();
    let copies = names.iter().filter(|name| name.starts_with("checkpoint/"));
    let copies: Vec<&String> = copies.collect();
    let newest = copies
        .iter()
        .filter_map(|name| disk.bytes(name))
        .max_by_key(|bytes| bytes.get(16..24).map(<[u8]>::to_vec));
    let mut bytes = match newest.filter(|_| first & 0x80 == 0) {
        Some(mut bytes) => {
            while !input.is_empty() {
                let at = usize::from(input.u16()) % bytes.len().max(1);
                let cut = (at + usize::from(input.u8() & 15)).min(bytes.len());
                let len = usize::from(input.u8() & 31);
                bytes.splice(at..cut, input.bytes(len).iter().copied());
            }
            bytes
        }
        None => [HEAD, input.rest()].concat(),
    };
    seal::checkpoint(&mut bytes);
    for name in copies {
        disk.set_bytes(name, Vec::new());
    }
    disk.set_bytes("checkpoint/0", bytes);
    disk
}
