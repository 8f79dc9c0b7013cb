//! Pages of derived files, their content changed and their checksums good.

use escrow_store::MemoryDisk;

use super::input::Input;
use super::{folder, seal};

const PAGE: usize = 4096;

pub(super) fn write(data: &[u8]) -> MemoryDisk {
    let mut input = Input::new(data);
    let disk = folder::good(1 + (input.u8() & 1));
    let names = disk.names();
    let is_paged = |name: &&String| {
        ["half/", "queue/", "index/"]
            .iter()
            .any(|folder| name.starts_with(folder))
    };
    let paged: Vec<&String> = names.iter().filter(is_paged).collect();
    while !input.is_empty() {
        let Some(name) = input.pick(&paged) else {
            break;
        };
        let mut bytes = disk.bytes(name).unwrap_or_default();
        let pages = (bytes.len() / PAGE).max(1);
        let start = usize::from(input.u8()) % pages * PAGE;
        let Some(page) = bytes.get_mut(start..start + PAGE) else {
            break;
        };
        let at = usize::from(input.u16()) % PAGE;
        let patch = input.short();
        for (place, byte) in page.iter_mut().skip(at).zip(patch) {
            *place = *byte;
        }
        seal::page(page);
        disk.set_bytes(name, bytes);
    }
    disk
}
