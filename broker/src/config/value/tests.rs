use super::*;

#[track_caller]
fn round_trip<T: Value + PartialEq + fmt::Debug>(text: &str, unit: Unit, value: T) {
    assert_eq!(T::parse(text, unit).as_ref(), Ok(&value));
    assert_eq!(T::parse(&value.show(), unit), Ok(value));
}

#[test]
fn durations_take_a_suffix_or_the_unit_of_the_setting() {
    round_trip("6s", Unit::Milliseconds, Duration::from_secs(6));
    round_trip("6000", Unit::Milliseconds, Duration::from_secs(6));
    round_trip("72", Unit::Hours, Duration::from_secs(72 * 3600));
    round_trip("3d", Unit::Hours, Duration::from_secs(3 * 86_400));
    round_trip("0", Unit::Seconds, Duration::ZERO);
    round_trip("1500ms", Unit::Seconds, Duration::from_millis(1500));
}

#[test]
fn absurd_quantities_are_refused_with_an_example() {
    for text in ["", "s", "-1s", "1.5h", "9999999999999999999d", "5 weeks"] {
        let error = Duration::parse(text, Unit::Text).unwrap_err();
        assert!(error.contains("72h"), "{error}");
    }
    for text in ["", "GiB", "-1", "1GB", "99999999999TiB"] {
        let error = ByteSize::parse(text, Unit::Bytes).unwrap_err();
        assert!(error.contains("1GiB"), "{error}");
    }
}

#[test]
fn sizes_take_binary_suffixes() {
    round_trip("1GiB", Unit::Bytes, ByteSize::gib(1));
    round_trip("4194304", Unit::Bytes, ByteSize::mib(4));
    round_trip("64 KiB", Unit::Bytes, ByteSize::kib(64));
    round_trip("1000", Unit::Bytes, ByteSize(1000));
}

#[test]
fn flush_type_also_reads_apache_spelling() {
    round_trip("SYNC_FLUSH", Unit::Text, FlushDiskType::Sync);
    round_trip("async", Unit::Text, FlushDiskType::Async);
    assert!(FlushDiskType::parse("later", Unit::Text).is_err());
}

#[test]
fn delay_levels_are_a_list_of_at_most_eighteen() {
    round_trip(
        "1s 5m 2h",
        Unit::Text,
        DelayLevels(vec![
            Duration::from_secs(1),
            Duration::from_secs(300),
            Duration::from_secs(7200),
        ]),
    );
    assert!(DelayLevels::parse("", Unit::Text).is_err());
    assert!(DelayLevels::parse(&"1s ".repeat(19), Unit::Text).is_err());
    assert!(
        DelayLevels::parse("1s 5", Unit::Text).is_err(),
        "a level names its unit"
    );
}

#[test]
fn an_advertised_address_may_leave_the_port_to_the_listener() {
    round_trip(
        "10.0.0.5",
        Unit::Text,
        Advertised {
            ip: [10, 0, 0, 5].into(),
            port: None,
        },
    );
    round_trip(
        "10.0.0.5:99",
        Unit::Text,
        Advertised {
            ip: [10, 0, 0, 5].into(),
            port: Some(99),
        },
    );
    assert!(Advertised::parse("broker.example.org", Unit::Text).is_err());
}

#[test]
fn hours_of_the_day_are_numbers_up_to_23() {
    round_trip("04", Unit::Text, HoursOfDay(vec![4]));
    round_trip("04; 16", Unit::Text, HoursOfDay(vec![4, 16]));
    round_trip("", Unit::Text, None::<HoursOfDay>);
    for text in ["24", "04,16", "4;", "-1", "noon"] {
        assert!(HoursOfDay::parse(text, Unit::Text).is_err(), "{text}");
    }
}
