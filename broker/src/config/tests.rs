use proptest::prelude::*;

use super::*;

fn file(text: &str) -> Sources {
    Sources {
        file: Some(("escrow.toml".into(), text.to_owned())),
        ..Sources::default()
    }
}

#[track_caller]
fn refused(sources: &Sources, expected: &[&str]) {
    let problems = Settings::load(sources).unwrap_err().problems;
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, part) in problems.iter().zip(expected) {
        assert!(problem.contains(part), "`{problem}` does not say `{part}`");
        assert!(!problem.contains('\n'), "one line each: {problem}");
    }
}

#[test]
fn nothing_given_means_the_documented_defaults() {
    let settings = Settings::load(&Sources::default()).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.broker_addr.to_string(), "127.0.0.1:10911");
    assert_eq!(settings.transaction_flush, TransactionFlush::Sync);
    assert_eq!(
        settings.message_delay_level.show(),
        "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"
    );
}

#[test]
fn flags_beat_the_environment_and_that_beats_the_file() {
    let mut sources =
        file("brokerName = \"from-file\"\ntransactionTimeOut = 1000\ntransactionCheckMax = 3");
    sources.environment = vec![
        ("ESCROW_BROKER_NAME".into(), "from-environment".into()),
        ("ESCROW_TRANSACTION_TIME_OUT".into(), "2s".into()),
        ("PATH".into(), "/bin".into()),
    ];
    sources.flags = vec![("broker-name".into(), "from-flag".into())];
    let settings = Settings::load(&sources).unwrap();
    assert_eq!(settings.broker_name, "from-flag");
    assert_eq!(settings.transaction_time_out, Some(Duration::from_secs(2)));
    assert_eq!(settings.transaction_check_max, Some(3));
}

#[test]
fn apache_property_names_and_units_are_understood() {
    let settings = Settings::load(&file(
        "flushDiskType = \"SYNC_FLUSH\"\nfileReservedTime = 48\ndeleteWhen = \"04\"\nbrokerIP1 = \"10.1.2.3\"\n\
         maxMessageSize = 65536\nautoCreateTopicEnable = false\ntransactionCheckInterval = 30000",
    ))
    .unwrap();
    assert_eq!(settings.flush_disk_type, FlushDiskType::Sync);
    assert_eq!(settings.file_reserved_time, Duration::from_secs(48 * 3600));
    assert_eq!(settings.advertised_addr.unwrap().ip.to_string(), "10.1.2.3");
    assert_eq!(settings.max_message_size, ByteSize::kib(64));
    assert!(!settings.auto_create_topic_enable);
    assert_eq!(
        settings.transaction_check_interval,
        Some(Duration::from_secs(30))
    );
}

#[test]
fn all_problems_are_reported_together() {
    let mut sources = file(
        "flushDisktype = \"sync\"\ntransactionTimeOut = \"soon\"\nbrokerName = 1.5\nnonsense = 1",
    );
    sources.environment = vec![("ESCROW_ADMIN_ADDR".into(), "8088".into())];
    sources.flags = vec![
        ("transaction-flush".into(), "never".into()),
        ("colour".into(), "red".into()),
    ];
    refused(
        &sources,
        &[
            "escrow.toml: brokerName: a float",
            "escrow.toml: unknown key `flushDisktype`; did you mean `flushDiskType`?",
            "escrow.toml: unknown key `nonsense`",
            "escrow.toml: transactionTimeOut: `soon` is not a duration",
            "ESCROW_ADMIN_ADDR: `8088` is not an address",
            "--transaction-flush: `never` is neither sync nor follow",
            "--colour: no such flag",
        ],
    );
}

#[test]
fn a_file_that_is_not_toml_names_its_line() {
    refused(
        &file("brokerName = \"a\"\nbrokerName"),
        &["escrow.toml: line 2:"],
    );
    refused(&file("[broker]\nname = \"a\""), &["unknown key `broker`"]);
}

#[test]
fn an_unreachable_advertised_address_is_refused() {
    let flags = |pairs: &[(&str, &str)]| Sources {
        flags: pairs
            .iter()
            .map(|(flag, text)| ((*flag).to_owned(), (*text).to_owned()))
            .collect(),
        ..Sources::default()
    };
    refused(
        &flags(&[("broker-addr", "0.0.0.0:10911")]),
        &["--advertised-addr"],
    );
    refused(
        &flags(&[("advertised-addr", "0.0.0.0")]),
        &["cannot connect to 0.0.0.0"],
    );
    assert!(
        Settings::load(&flags(&[
            ("broker-addr", "0.0.0.0:1"),
            ("advertised-addr", "10.0.0.1")
        ]))
        .is_ok()
    );
}

#[test]
fn an_admin_api_that_others_reach_needs_a_token() {
    refused(
        &file("adminAddr = \"0.0.0.0:8088\""),
        &["adminToken: needed"],
    );
    refused(&file("adminToken = \"short\""), &["shorter than 16"]);
    let settings = Settings::load(&file(
        "adminAddr = \"0.0.0.0:8088\"\nadminToken = \"0123456789abcdef\"",
    ))
    .unwrap();
    assert!(
        !format!("{settings:?}").contains("0123456789abcdef"),
        "a token is never printed"
    );
    assert!(
        settings
            .shown()
            .iter()
            .all(|(_, text)| !text.contains("0123456789abcdef"))
    );
}

#[test]
fn sizes_that_cannot_work_are_refused() {
    refused(
        &file("maxMessageSize = \"1GiB\"\nmappedFileSizeCommitLog = \"1GiB\""),
        &["maxMessageSize", "mappedFileSizeCommitLog"],
    );
    refused(
        &file("mappedFileSizeCommitLog = \"1MiB\""),
        &["the largest message must fit"],
    );
    refused(
        &file("freeSpaceRefuse = \"9GiB\""),
        &["do not fall in this order"],
    );
    for ratio in [9, 96, 300] {
        refused(
            &file(&format!("diskMaxUsedSpaceRatio = {ratio}")),
            &["not from 10 to 95"],
        );
    }
}

#[test]
fn every_setting_is_documented_and_settable_by_flag() {
    for doc in DOCS {
        assert!(
            !doc.text.is_empty() && !doc.source.is_empty(),
            "{}",
            doc.key
        );
        let shown = Settings::default().shown();
        let text = &shown.iter().find(|(key, _)| *key == doc.key).unwrap().1;
        let sources = Sources {
            flags: vec![(doc.flag(), text.clone())],
            ..Sources::default()
        };
        assert_eq!(
            Settings::load(&sources),
            Ok(Settings::default()),
            "{}",
            doc.key
        );
    }
}

#[test]
fn the_reference_in_the_repository_is_this_one() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../SETTINGS.md");
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    if kept != reference() && std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(file, reference()).unwrap();
        return;
    }
    assert_eq!(
        kept,
        reference(),
        "run this test with UPDATE_REFERENCE=1 to write SETTINGS.md anew"
    );
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "[ -~\\né=\"\\[\\]]{0,200}") {
        let _ = Settings::load(&file(&text));
    }

    #[test]
    fn no_value_makes_it_panic(at in 0..DOCS.len(), value in "\\PC{0,40}") {
        let flags = vec![(DOCS[at].flag(), value)];
        if let Err(error) = Settings::load(&Sources { flags, ..Sources::default() }) {
            prop_assert!(!error.problems.is_empty());
        }
    }
}
