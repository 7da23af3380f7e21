use std::net::IpAddr;

use super::*;
use crate::model::{NetworkPolicy, Protocol};

fn policy_file(path: &str, text: &str) -> NetworkFile {
    let name = path.rsplit('/').next().unwrap().trim_end_matches(".yaml");
    let kind = match name {
        "network-groups" => FileKind::Groups,
        name => FileKind::Policy(name.parse().unwrap()),
    };
    NetworkFile { path: path.into(), kind, text: text.to_owned() }
}

/// Lays files over the built-in ones.
fn over_built_in(files: &[(&str, &str)]) -> Result<Networks, String> {
    let services = [("redis".parse().unwrap(), NonZero::new(6379).unwrap())].into();
    let mut all = NetworkFile::built_in();
    all.extend(files.iter().map(|(path, text)| policy_file(path, text)));
    Networks::from_files(&all, &services).map_err(|error| error.to_string())
}

pub(super) fn facts() -> HostFacts {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    HostFacts {
        addresses: ["192.168.7.2", "169.254.1.2", "203.0.113.9", "2001:db8::9"]
            .map(address)
            .to_vec(),
        registries: vec!["crates.example.org:443".parse().unwrap()],
    }
}

fn resolve(networks: &Networks, name: &str) -> Resolved {
    networks.resolve(&NetworkPolicy::new(name.parse().unwrap()), &facts()).unwrap()
}

/// What one policy comes to.
fn resolved(text: &str) -> Resolved {
    resolve(&over_built_in(&[("network/mine.yaml", text)]).unwrap(), "mine")
}

/// Whether `example.org:443` or `192.0.2.7:443/udp` is let through.
fn allows(resolved: &Resolved, target: &str) -> bool {
    let (host, port) = target.rsplit_once(':').unwrap();
    let (port, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let (port, protocol) = (port.parse().unwrap(), protocol.parse().unwrap());
    match host.trim_matches(['[', ']']).parse() {
        Ok(address) => resolved.allows_address(address, protocol, port),
        Err(_) => resolved.allows_name(&host.parse().unwrap(), protocol, port),
    }
}

#[test]
fn the_built_in_policies_do_what_they_say() {
    let networks = over_built_in(&[]).unwrap();
    let names: Vec<&str> = networks.policies().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["isolated", "open", "restricted"]);
    let targets = [
        // The internet.
        "example.org:443",
        "192.0.2.7:443",
        "[2001:db8::7]:53/udp",
        // What is allowed by name.
        "github.com:22",
        "github.com:80",
        "a.githubusercontent.com:443",
        "crates.example.org:443",
        // Private ranges, links, machines.
        "10.1.2.3:443",
        "172.31.0.1:443",
        "192.168.7.3:443",
        "100.64.0.1:443",
        "198.18.0.1:443",
        "169.254.169.254:80",
        "127.0.0.1:80",
        "224.0.0.1:5353/udp",
        "255.255.255.255:67/udp",
        "[::1]:80",
        "[fe80::1]:80",
        "[fd00::1]:80",
        "[ff02::1]:80",
        "[::ffff:10.0.0.1]:80",
        "[64:ff9b::a00:1]:80",
        "[64:ff9b::c000:207]:80",
        // This host.
        "203.0.113.9:22",
        "[2001:db8::9]:22",
    ];
    let told = ["open", "restricted", "isolated"].map(|name| {
        let resolved = resolve(&networks, name);
        let let_through = targets.iter().filter(|target| allows(&resolved, target));
        format!("{name}: {}", let_through.copied().collect::<Vec<_>>().join(" "))
    });
    insta::assert_snapshot!(told.join("\n"), @r#"
    open: example.org:443 192.0.2.7:443 [2001:db8::7]:53/udp github.com:22 github.com:80 a.githubusercontent.com:443 crates.example.org:443 [64:ff9b::c000:207]:80
    restricted: github.com:22 a.githubusercontent.com:443 crates.example.org:443
    isolated:
    "#);
}

#[test]
fn layers_replace_what_they_name() {
    let networks = over_built_in(&[
        ("1/network/restricted.yaml", "allow: [a.example.org]\nhost_services: {web: 80}"),
        ("1/network-groups.yaml", "groups: {mine: ['@git-hosts', 'x.example.org:22']}"),
        ("2/network/restricted.yaml", "deny: ['@mine']\nhost_services: {api: 8000}"),
        ("2/network-groups.yaml", "groups: {git-hosts: [git.example.org]}"),
        ("2/network/empty.yaml", "like: open"),
        ("3/network/empty.yaml", "# nothing\n"),
    ])
    .unwrap();
    let policy = networks.policy(&"restricted".parse().unwrap()).unwrap();
    assert_eq!(policy.allow, ["a.example.org".parse().unwrap()]);
    let services: Vec<&str> = policy.host_services.keys().map(|name| name.as_str()).collect();
    assert_eq!(services, ["api", "redis", "web"]);
    let denied = resolve(&networks, "restricted").denied_names;
    let denied: Vec<String> = denied.iter().map(|rule| rule.pattern.to_string()).collect();
    assert_eq!(denied, ["git.example.org", "x.example.org"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases: [&[(&str, &str)]; 20] = [
        &[("m.yaml", "like: restricted\nallow:\n  - example.org:443\n  - https://example.org/")],
        &[("m.yaml", "like: closed")],
        &[("m.yaml", "allow: []")],
        &[("m.yaml", "like: open\nalow: []")],
        &[("m.yaml", "like: open\nprivate_ranges: maybe")],
        &[("m.yaml", "like: open\nhost_services:\n  5432: 5432")],
        &[("m.yaml", "like: open\nhost_services: {a: 1, a: 2}")],
        &[("m.yaml", "like: open\nhost_services: {a: 0}")],
        &[("isolated.yaml", "allow:\n  - example.org")],
        &[("isolated.yaml", "\nlike: open")],
        &[("m.yaml", "like: restricted\nallow:\n  - host:redis\n  - host:postgres")],
        &[("m.yaml", "like: restricted\nallow: ['@git-host']")],
        &[("m.yaml", "like: restricted\nallow:\n - a.b:1\n - c.d:443\ndeny:\n - e.f\n - '*.d'")],
        &[("m.yaml", "like: open\nallow: ['@registries']\ndeny: ['@registries']")],
        &[
            ("m.yaml", "like: restricted\nallow: [github.com:22]"),
            ("2/m.yaml", "deny: ['@git-hosts']"),
        ],
        &[(
            "network-groups.yaml",
            "groups:\n  a: ['@b']\n  b:\n    - x.y\n    - '@c'\n  c: ['@b']",
        )],
        &[("network-groups.yaml", "groups:\n  a: ['@a']")],
        &[("network-groups.yaml", "groups:\n  registries:\n    - a.b")],
        &[
            ("network-groups.yaml", "groups: {a: [host:db]}"),
            ("m.yaml", "like: open\nallow: ['@a']"),
        ],
        &[("m.yaml", "like: open\nallow: {a: b}")],
    ];
    let told = cases.map(|files| over_built_in(files).unwrap_err());
    insta::assert_snapshot!(told.join("\n"), @r#"
    m.yaml:4:5: allow[1]: a destination is no URL: leave "https" and what follows the host out, and write example.org, with its ports
    m.yaml:1:7: like: "closed" is none of isolated, restricted and open
    m.yaml:1:1: 'like' is missing: write isolated, restricted or open, which says how open this policy is at most
    m.yaml:2:1: unknown field `alow`, expected one of `description`, `like`, `private_ranges`, `allow`, `deny`, `host_services`
    m.yaml:2:17: private_ranges: unknown variant `maybe`, expected `allow` or `refuse`
    m.yaml:3:3: host_services: "5432" is not the name of a service of the host: that has up to 40 of a-z, 0-9 and dashes, begins with a letter and does not end with a dash
    m.yaml:2:23: host_services: 'a' is there twice
    m.yaml:2:20: host_services.a: invalid value: integer `0`, expected a nonzero u16
    isolated.yaml:2:5: what is like isolated allows nothing: make it like restricted
    isolated.yaml:2:7: the policy isolated is always like isolated: name another one otherwise
    m.yaml:4:5: there is no service of the host postgres: add it to 'host_services' with its port
    m.yaml:2:9: there is no group @git-host; there are @git-hosts, @model-providers, @registries
    m.yaml:4:4: c.d:443 is allowed here and denied at m.yaml:7:4, which goes before
    m.yaml:2:9: @registries is allowed here and denied at m.yaml:3:8, which goes before
    m.yaml:2:9: github.com:22 is allowed here and denied at 2/m.yaml:1:8, which goes before
    network-groups.yaml:5:7: groups are in each other in a circle: @c has @b has @c
    network-groups.yaml:2:7: groups are in each other in a circle: @a has @a
    network-groups.yaml:3:5: @registries is read from the configuration of this host's own clients; name a group otherwise
    m.yaml:2:9: there is no service of the host db: add it to 'host_services' with its port
    m.yaml:2:8: allow: invalid type: map, expected a sequence
    "#);
    let deep: String = (0..40).map(|n| format!("  a{n}: ['@a{}']\n", n + 1)).collect();
    let error = over_built_in(&[("network-groups.yaml", &format!("groups:\n{deep}  a40: []"))]);
    assert!(error.unwrap_err().contains("more than 16 deep"));
}

#[test]
fn a_taskspace_adds_to_its_policy() {
    let networks = over_built_in(&[]).unwrap();
    let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let wanted = |name: &str, allow: &[&str], deny: &[&str]| NetworkPolicy {
        allow: list(allow),
        deny: list(deny),
        ..NetworkPolicy::new(name.parse().unwrap())
    };
    let own = wanted("restricted", &["example.org:443", "host:redis"], &["github.com:22"]);
    let resolved = networks.resolve(&own, &facts()).unwrap();
    assert!(allows(&resolved, "example.org:443") && !allows(&resolved, "example.org:80"));
    assert!(allows(&resolved, "github.com:443") && !allows(&resolved, "github.com:22"));
    assert!(allows(&resolved, "203.0.113.9:6379") && !allows(&resolved, "203.0.113.9:6379/udp"));
    assert!(!allows(&resolved, "203.0.113.9:22"));
    // A name that is denied as a whole is not even answered; one with other ports is.
    let open = wanted("open", &["lan.example.org:443"], &["a.example.org", "b.example.org:22"]);
    let resolved = networks.resolve(&open, &facts()).unwrap();
    let name = |text: &str| resolved.name(&text.parse().unwrap());
    assert_eq!(name("a.example.org"), None);
    assert!(name("b.example.org").unwrap().denied.contains(Protocol::Udp, 22));
    assert!(name("lan.example.org").unwrap().allowed.contains(Protocol::Tcp, 443));
    assert!(name("c.example.org").unwrap().allowed.is_empty());
    // What was allowed beside a policy has no effect in isolation.
    let isolated =
        networks.resolve(&wanted("isolated", &["a.example.org", "192.0.2.7"], &[]), &facts());
    let isolated = isolated.unwrap();
    assert!(!allows(&isolated, "a.example.org:1") && !allows(&isolated, "192.0.2.7:1"));
    assert!(
        isolated.allowed.is_empty() && isolated.name(&"a.example.org".parse().unwrap()).is_none()
    );
    // What is not known might have been denied.
    for (allow, deny) in [(["@gone"], []), (["host:gone"], [])] {
        assert!(networks.resolve(&wanted("open", &allow, &deny), &facts()).is_err());
        assert!(networks.resolve(&wanted("open", &deny, &allow), &facts()).is_err());
    }
    assert!(networks.resolve(&wanted("gone", &[], &[]), &facts()).is_err());
}

#[test]
fn registries_are_asked_for_only_where_they_are_named() {
    let networks = over_built_in(&[
        ("network-groups.yaml", "groups: {mine: ['@registries', example.org]}"),
        ("network/mine.yaml", "like: restricted\nallow: ['@mine']"),
    ])
    .unwrap();
    let names =
        |name: &str| networks.names_registries(&NetworkPolicy::new(name.parse().unwrap())).unwrap();
    assert!(names("mine") && names("restricted") && !names("open") && !names("isolated"));
    assert!(allows(&resolve(&networks, "mine"), "crates.example.org:443"));
}

#[test]
fn everywhere_is_without_what_is_closed() {
    let everywhere = resolved("like: restricted\nallow: ['0.0.0.0/0:443', '[::/0]:443']");
    for (target, expected) in [
        ("192.0.2.7:443", true),
        ("192.0.2.7:80", false),
        ("10.0.0.1:443", false),
        ("9.255.255.255:443", true),
        ("11.0.0.0:443", true),
        ("169.254.169.254:443", false),
        ("[2001:db8::1]:443", true),
        ("[fd00::1]:443", false),
        ("[::1]:443", false),
        ("203.0.113.9:443", false),
    ] {
        assert_eq!(allows(&everywhere, target), expected, "{target}");
    }
    let private = "like: restricted\nprivate_ranges: allow\nallow: ['0.0.0.0/0:443']";
    assert!(allows(&resolved(private), "10.0.0.1:443"));
    assert!(!allows(&resolved(private), "127.0.0.1:443"));
    let by_itself = resolved("like: open\nallow: ['10.1.0.0/16', 169.254.169.254:80]");
    assert!(allows(&by_itself, "10.1.0.1:22") && !allows(&by_itself, "10.2.0.1:22"));
    assert!(allows(&by_itself, "169.254.169.254:80") && !allows(&by_itself, "169.254.169.254:81"));
}

#[test]
fn names_do_not_lead_to_the_host_or_a_link() {
    let open = resolved("like: open");
    for (address, leads) in [
        ("192.0.2.7", true),
        ("10.1.2.3", true),
        ("fd00::1", true),
        ("192.168.7.2", false),
        ("127.0.0.1", false),
        ("169.254.169.254", false),
        ("::1", false),
        ("::ffff:127.0.0.1", false),
        ("64:ff9b::7f00:1", false),
        ("fe80::1", false),
    ] {
        assert_eq!(open.leads_to(address.parse().unwrap()), leads, "{address}");
    }
}

#[test]
fn bounds_decide_or_say_who_forbids() {
    let networks = over_built_in(&[("network/mine.yaml", "like: restricted")]).unwrap();
    let bounds = |text: &str| Bounds::from(serde_yaml::from_str::<BoundsFragment>(text).unwrap());
    let choose = |name: &str, allow: &[Destination], observe: bool, project: &str, tier: &str| {
        let (project, tier) = (bounds(project), bounds(tier));
        let name = (!name.is_empty()).then(|| name.parse().unwrap());
        let wanted = Wanted { name: name.as_ref(), allow, observe };
        let all = [
            Bound { by: Authority::Project("app".to_owned()), bounds: &project },
            Bound { by: Authority::Tier("default".to_owned()), bounds: &tier },
        ];
        match networks.choose(wanted, &all) {
            Ok(name) => name.to_string(),
            Err(error) => error.to_string(),
        }
    };
    let cases = [
        ("", "{}", "{}"),
        ("", "{}", "{default: mine}"),
        ("", "{default: isolated}", "{default: mine}"),
        ("", "{at_most: isolated}", "{default: mine}"),
        ("", "{at_most: restricted}", "{default: open}"),
        ("mine", "{at_most: restricted}", "{default: open}"),
        ("open", "{}", "{default: mine, at_most: restricted}"),
        ("mine", "{at_most: isolated}", "{}"),
        ("", "{fixed: mine}", "{default: open}"),
        ("mine", "{fixed: mine}", "{}"),
        ("isolated", "{fixed: mine}", "{}"),
        ("", "{fixed: mine}", "{fixed: open}"),
        ("", "{fixed: open}", "{at_most: restricted}"),
        ("gone", "{}", "{}"),
    ];
    let told = cases.map(|(name, project, tier)| choose(name, &[], false, project, tier));
    insta::assert_snapshot!(told.join("\n"), @r#"
    open
    mine
    isolated
    isolated
    restricted
    mine
    the tier 'default' allows network policies up to restricted, and open is like open
    the project 'app' allows network policies up to isolated, and mine is like restricted
    mine
    mine
    the project 'app' has the network policy mine fixed, so it cannot be isolated
    the project 'app' has the network policy mine fixed, and the tier 'default' has open
    the tier 'default' allows network policies up to restricted, and open is like open
    there is no network policy "gone"; there are isolated, mine, open, restricted
    "#);
    let own = ["example.org".parse().unwrap()];
    let told = [
        choose("", &own, false, "{fixed: mine}", "{}"),
        choose("", &own, false, "{}", "{at_most: restricted}"),
        choose("mine", &[], true, "{}", "{at_most: restricted}"),
        choose("mine", &[], true, "{fixed: mine}", "{}"),
        choose("mine", &[], true, "{}", "{}"),
    ];
    insta::assert_snapshot!(told.join("\n"), @r#"
    the project 'app' has the network policy mine fixed, so nothing can be added to what it allows
    restricted
    the tier 'default' does not allow a network policy that is open, as one that observes is for a while
    the project 'app' does not allow a network policy that is open, as one that observes is for a while
    mine
    "#);
    let unknown = bounds("{default: gone}");
    let bound = Bound { by: Authority::Tier("gold".to_owned()), bounds: &unknown };
    insta::assert_snapshot!(networks.check_bounds(&bound).unwrap_err(), @r#"the tier 'gold' has a network policy that there is not: there is no network policy "gone"; there are isolated, mine, open, restricted"#);
}
