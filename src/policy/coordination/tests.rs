use super::*;

fn parse(text: &str) -> Result<CoordinationFragment, String> {
    serde_yaml::from_str(text).map_err(|error: serde_yaml::Error| error.to_string())
}

fn over_built_in(text: &str) -> Result<Coordination, String> {
    let merged = Coordination::built_in().merge(parse(text)?);
    merged.try_into().map_err(|error: CoordinationError| error.to_string())
}

#[test]
fn the_built_in_file_is_whole_and_sensible() {
    parse(BUILT_IN).unwrap();
    let built_in: Coordination = Coordination::built_in().try_into().unwrap();
    let severity = |one: &str, other: &str| {
        let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
        assert_eq!(built_in.matrix.severity(one, other), built_in.matrix.severity(other, one));
        built_in.matrix.severity(one, other)
    };
    assert_eq!(severity("restart", "restart"), Severity::Critical);
    assert_eq!(severity("config", "restart"), Severity::High);
    assert_eq!(severity("stop", "stop"), Severity::High);
    assert_eq!(severity("config", "config"), Severity::Medium);
    assert_eq!(severity("read", "config"), Severity::Low);
    assert_eq!(severity("read", "read"), Severity::None);
    let responses = Severity::ALL.map(|severity| built_in.responses.to(severity));
    let [proceed, caution] = [Response::Proceed, Response::Caution];
    assert_eq!(responses, [proceed, proceed, caution, Response::Queue, Response::Reject]);
    assert_eq!((built_in.limits.queue, built_in.limits.per_container), (100, 3));
    assert_eq!(built_in.limits.timeout, Duration::from_secs(300));
    assert_eq!(Pair::all().count(), 36);
}

#[test]
fn a_layer_replaces_only_what_it_names() {
    let built_in: Coordination = Coordination::built_in().try_into().unwrap();
    let changed = over_built_in(
        "conflicts: {read: {stop: high}}\nseverities: {critical: queue}\n\
         limits: {per_container: 1}\ndependencies: {disruptive: []}\ncontainers: {api: {}}",
    )
    .unwrap();
    for pair @ Pair(one, other) in Pair::all() {
        let expected = match pair {
            Pair(OperationClass::Read, OperationClass::Stop) => Severity::High,
            _ => built_in.matrix.severity(one, other),
        };
        assert_eq!(changed.matrix.severity(other, one), expected, "{pair}");
    }
    assert_eq!(changed.responses.to(Severity::Critical), Response::Queue);
    assert_eq!(changed.limits, Limits { per_container: 1, ..built_in.limits });
    assert_eq!((changed.disruptive, changed.at_most), (Vec::new(), built_in.at_most));
    let more = "containers: {api: {ports: [8000]}, db: {}}";
    let merged = parse("containers: {api: {}, web: {}}").unwrap().merge(parse(more).unwrap());
    let names: Vec<&str> = merged.containers.keys().map(ContainerName::as_str).collect();
    assert_eq!(names, ["api", "db", "web"]);
    assert_eq!(merged.containers.values().next().unwrap().ports, [8000]);
}

#[test]
fn all_missing_pairs_are_named() {
    let mut text = "inherit: false\nconflicts:\n".to_owned();
    for row in OperationClass::ALL {
        text += &format!("  {row}:\n");
        for column in OperationClass::ALL {
            // Both orders are fine as long as they agree.
            text += &format!("    {column}: low\n");
        }
    }
    let matrix = over_built_in(&text).unwrap().matrix;
    assert!(Pair::all().all(|Pair(one, other)| matrix.severity(one, other) == Severity::Low));
    let text = text.replace("  read:\n    read: low\n", "  read:\n");
    let text = text.replace("    restart: low\n", "");
    assert_eq!(over_built_in(&text).unwrap_err(), "'conflicts' lacks read+read, restart+restart");
    let error = over_built_in("inherit: false").unwrap_err();
    assert_eq!(error.matches('+').count(), 36, "{error}");
    // A later layer lies over the one that began anew.
    let anew = parse("inherit: false\nconflicts: {read: {read: low}}").unwrap();
    let over = parse("conflicts: {stop: {read: low}}").unwrap();
    let merged = Coordination::built_in().merge(anew).merge(over);
    assert_eq!(merged.conflicts.unwrap().0.len(), 2);
}

#[test]
fn a_key_without_a_value_says_nothing() {
    let built_in: Coordination = Coordination::built_in().try_into().unwrap();
    for key in ["inherit", "severities", "conflicts", "dependencies", "limits", "containers"] {
        assert_eq!(over_built_in(&format!("{key}:\n")).as_ref(), Ok(&built_in), "{key}");
    }
    assert_eq!(over_built_in("conflicts: {read: }"), Ok(built_in));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let cases = [
        ("conflict: {}", "unknown field `conflict`"),
        ("limits: {queues: 1}", "unknown field `queues`"),
        ("containers: {api: {port: 1}}", "unknown field `port`"),
        ("conflicts: {reads: {}}", "unknown variant `reads`"),
        ("conflicts: {read: {reads: low}}", "unknown variant `reads`"),
        ("conflicts:\n  read:\n    stop: bad", "unknown variant `bad`, expected one of `none`"),
        ("conflicts:\n  read:\n    stop: bad", "at line 3 column 11"),
        ("conflicts: {read: low}", "expected kinds of operations with severities"),
        (
            "conflicts:\n  read: {stop: low}\n  stop:\n    read: high",
            "conflicts.stop.read: read+stop is low and high at line 4 column 11",
        ),
        ("conflicts: {read: {stop: low, stop: none}}", "read+stop is low and none"),
        ("conflicts: {read: {stop: low}, read: {stop: none}}", "read+stop is low and none"),
        ("severities: {high: wait}", "unknown variant `wait`"),
        ("severities: {fatal: reject}", "unknown field `fatal`"),
        ("severities: {high: caution}", "'severities.high' is caution; it has to be queue or"),
        ("severities: {critical: proceed}", "'severities.critical' is proceed; it has to be"),
        (
            "severities: {none: caution}",
            "'severities.low' is proceed, which is milder than caution for none",
        ),
        ("severities: {high: reject, critical: queue}", "which is milder than reject for high"),
        ("limits: {queue: 0}", "'limits.queue' is 0; it has to be 1 at least"),
        ("limits: {per_container: 0}", "'limits.per_container' is 0"),
        ("limits: {queue: -1}", "expected usize"),
        ("limits: {timeout: 0s}", "is not a duration"),
        ("limits: {lease: 500ms}", "'limits.lease' is shorter than a second"),
        ("containers: {api: {ports: [80, 0]}}", "'containers.api': 0 is not a port"),
        ("limits: {lease: soon}", "is not a duration"),
        ("dependencies: {disruptive: [kill]}", "unknown variant `kill`"),
        ("dependencies: {at_most: worst}", "unknown variant `worst`"),
        ("containers: {api: {}, web: {}, api: {}}", "api is there twice"),
        ("containers: {'a b': {}}", "\"a b\" is not the name of a container"),
        ("containers: {api: {depends_on: ['taskspace:A']}}", "has the character 'A'"),
        ("containers: {api: {ports: [70000]}}", "invalid value: integer `70000`"),
        ("containers: {api: {depends_on: [api]}}", "run in a circle: api depends on api"),
        (
            "containers: {a: {depends_on: [b, c]}, c: {depends_on: [d]}, d: {depends_on: [a]}}",
            "run in a circle: a depends on c depends on d depends on a",
        ),
    ];
    for (text, message) in cases {
        let error = over_built_in(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let all = Coordination::built_in;
    let error =
        |fragment: CoordinationFragment| Coordination::try_from(fragment).unwrap_err().to_string();
    assert_eq!(
        error(CoordinationFragment { severities: None, ..all() }),
        "'severities' does not say what comes of none"
    );
    assert_eq!(error(CoordinationFragment { limits: None, ..all() }), "'limits.queue' is missing");
    assert_eq!(
        error(CoordinationFragment { dependencies: None, ..all() }),
        "'dependencies.disruptive' is missing"
    );
}

#[test]
fn eight_containers_are_read_from_one_file() {
    let text = "
containers:
  api: {ports: [8000]}
  webui: {ports: [3000], depends_on: [api]}
  worker: {depends_on: [api, redis, postgres]}
  postgres: {ports: [5432]}
  redis: {ports: [6379]}
  voice-interaction-service: {ports: [8006], depends_on: [api]}
  chat-service: {ports: [8007], depends_on: [api]}
  prometheus: {ports: [9090]}
";
    assert_eq!(over_built_in(text).unwrap().containers.len(), 8);
}
