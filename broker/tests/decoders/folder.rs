//! A data folder as a start finds it: identity, consumer offsets, and the topics and groups in the store.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use escrow_broker::Broker;
use escrow_broker::config::{ByteSize, Settings};
use escrow_store::{FileDisk, Store};
use tokio::runtime::Runtime;

use super::http::Http;
use super::{pairs, sections, support};

const IDENTITY: &str =
    r#"{"format":1,"storeId":"s","brokerName":"broker-a","brokerClusterName":"DefaultCluster"}"#;

/// Behind zero bytes: the identity (empty: a good one), the consumer offsets, those of the snapshot before, and metadata as
/// `key=value`. Offsets that begin with `{"offsetTable"` get the line with their checksum.
pub(crate) fn folder(data: &[u8]) {
    let [identity, offsets, previous, metadata] = sections(data);
    let home = tempfile::tempdir().expect("a temporary folder");
    let put = |name: &str, text: &str| fs::write(home.path().join(name), text).expect("room");
    put(
        "identity.json",
        if identity.is_empty() {
            IDENTITY
        } else {
            &identity
        },
    );
    for (name, text) in [
        ("consumer-offsets.json", offsets),
        ("consumer-offsets.previous.json", previous),
    ] {
        if !text.is_empty() {
            put(name, &sealed(&text));
        }
    }
    store(&home.path().join("store"), &pairs(&metadata));
    let first = start(home.path());
    assert_eq!(start(home.path()), first, "two starts agree");
}

fn sealed(text: &str) -> String {
    if !text.starts_with("{\"offsetTable\"") {
        return text.to_owned();
    }
    let line = text.lines().next().unwrap_or_default();
    let crc = crc_fast::crc32_iscsi(line.as_bytes());
    format!("{{\"format\":1,\"crc32c\":{crc}}}\n{line}\n")
}

fn store(folder: &Path, metadata: &[(String, String)]) {
    fs::create_dir_all(folder).expect("room");
    let disk = FileDisk::open(folder).expect("a folder");
    let settings = escrow_store::Settings {
        segment_bytes: 256 << 10,
        record_bytes_max: 66 << 10,
        ..escrow_store::Settings::tiny()
    };
    let (mut store, _) = Store::open(Arc::new(disk), settings, 1).expect("an empty store");
    for (key, value) in metadata {
        // One too long is refused, which is as well.
        let _ = store.set_meta(1, key, value.as_bytes());
    }
    store.write().expect("room");
    store.sync().expect("a good disk");
}

/// Topics and groups, or why it did not start.
fn start(folder: &Path) -> Result<[Vec<u8>; 2], String> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("threads can be had"));
    let started = runtime.block_on(Broker::start(settings(folder)));
    let broker = started.map_err(|error| {
        let text = error.to_string();
        assert!(!text.is_empty(), "a refusal says why");
        text
    })?;
    let mut http = Http::to(broker.addresses().admin);
    let mut get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = http.ask("GET", request.as_bytes());
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    };
    let answers = [get("/api/topics"), get("/api/groups")];
    runtime.block_on(broker.shutdown());
    Ok(answers)
}

fn settings(folder: &Path) -> Settings {
    let mut settings = support::settings(folder);
    settings.max_message_size = ByteSize::kib(1);
    settings.segment_size = ByteSize::kib(256);
    settings.free_space_clean = ByteSize(0);
    settings.free_space_refuse = ByteSize(0);
    settings.free_space_reserve = ByteSize(0);
    settings
}
