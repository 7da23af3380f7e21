//! What is resolved, compared with a model that looks at each line.

use std::net::IpAddr;

use proptest::prelude::*;

use super::tests::facts;
use super::*;
use crate::model::{AddressRange, DomainName, NamePattern, NetworkPolicy, PortSet, Protocol};

/// Ports that meet often.
fn ports() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        ":[1-6](/tcp|/udp)?",
        ":[1-3]-[4-6](/tcp|/udp)?",
        ":[1-2],[4-6]",
        Just(":1-65535/tcp".to_owned()),
        Just(":3-65535".to_owned()),
    ]
}

fn destination() -> impl Strategy<Value = Destination> {
    let host = prop_oneof![
        "(\\*\\.)?([ab]\\.){0,2}example",
        Just("0.0.0.0/0".to_owned()),
        (
            prop::sample::select(vec![0xa00_0000u32, 0xc000_0200, 0xa9fe_0000, 0xcb00_7100]),
            0u32..8,
            5u8..=32
        )
            .prop_map(|(base, more, prefix)| {
                AddressRange::v4((base | more).into(), prefix).to_string()
            }),
        (0u128..8, 100u8..=128).prop_map(|(more, prefix)| {
            let base = 0x2001_0db8_u128 << 96;
            format!("[{}]", AddressRange::v6((base | more).into(), prefix))
        }),
    ];
    (host, ports()).prop_map(|(host, ports)| format!("{host}{ports}").parse().unwrap())
}

fn address() -> impl Strategy<Value = IpAddr> {
    let bases =
        vec![0xa00_0000u32, 0xc000_0200, 0xa9fe_0000, 0xcb00_7100, 0x0700_0000, 0x7f00_0000];
    prop_oneof![
        (prop::sample::select(bases), 0u32..10)
            .prop_map(|(base, more)| IpAddr::V4((base | more).into())),
        (0u128..10).prop_map(|more| IpAddr::V6(((0x2001_0db8_u128 << 96) | more).into())),
    ]
}

/// Decides by looking at each line.
struct Model<'a> {
    like: Openness,
    closed: Vec<AddressRange>,
    allow: &'a [Destination],
    deny: &'a [Destination],
}

impl Model<'_> {
    fn address(&self, address: IpAddr, protocol: Protocol, port: u16) -> bool {
        let closed_here: Vec<_> = self.closed.iter().filter(|it| it.contains(address)).collect();
        let lines = |list: &[Destination], explicit: bool| {
            list.iter().any(|line| match line {
                Destination::Address(range, ports) => {
                    let is_meant = !explicit || closed_here.iter().all(|it| it.covers(*range));
                    range.contains(address) && ports.contains(protocol, port) && is_meant
                }
                _ => false,
            })
        };
        if self.like == Openness::Isolated || lines(self.deny, false) {
            return false;
        }
        if facts().addresses.contains(&address) {
            return false;
        }
        lines(self.allow, true) || self.like == Openness::Open && closed_here.is_empty()
    }

    fn name(&self, name: &DomainName, protocol: Protocol, port: u16) -> bool {
        let is_in = |list: &[Destination]| {
            let is_about = |(pattern, ports): (&NamePattern, &PortSet)| {
                pattern.matches(name) && ports.contains(protocol, port)
            };
            list.iter().any(|line| match line {
                Destination::Name(pattern, ports) => is_about((pattern, ports)),
                _ => false,
            })
        };
        match self.like {
            Openness::Isolated => false,
            Openness::Restricted => is_in(self.allow) && !is_in(self.deny),
            Openness::Open => !is_in(self.deny),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_resolved_decides_as_the_lines_do(
        like in prop::sample::select(Openness::ALL.as_slice()),
        private in prop::sample::select(vec![PrivateRanges::Allow, PrivateRanges::Refuse]),
        allow in prop::collection::vec(destination(), 0..6),
        deny in prop::collection::vec(destination(), 0..4),
        split in 0usize..4,
        addresses in prop::collection::vec(address(), 20),
        names in prop::collection::vec("([ab]\\.){0,3}example", 8),
        reversed in any::<bool>(),
    ) {
        // Some of it from the policy, some from the taskspace.
        let (policy_allow, own_allow) = allow.split_at(split.min(allow.len()));
        let (policy_deny, own_deny) = deny.split_at(split.min(deny.len()));
        let policy = Policy {
            description: String::new(),
            like,
            private_ranges: private,
            allow: policy_allow.to_vec(),
            deny: policy_deny.to_vec(),
            host_services: BTreeMap::new(),
        };
        let name: PolicyName = "mine".parse().unwrap();
        let networks =
            Networks { policies: [(name.clone(), policy)].into(), groups: BTreeMap::new() };
        let mut wanted = NetworkPolicy {
            allow: own_allow.to_vec(),
            deny: own_deny.to_vec(),
            ..NetworkPolicy::new(name)
        };
        let resolved = networks.resolve(&wanted, &facts()).unwrap();
        let closed = reserved::closed(private);
        let model = Model { like, closed, allow: &allow, deny: &deny };
        for protocol in Protocol::ALL {
            for port in [1, 2, 3, 4, 5, 6, 7, 65535] {
                for address in &addresses {
                    prop_assert_eq!(
                        resolved.allows_address(*address, protocol, port),
                        model.address(*address, protocol, port),
                        "{} {} {}", address, protocol, port
                    );
                }
                for name in &names {
                    let name: DomainName = name.parse().unwrap();
                    prop_assert_eq!(
                        resolved.allows_name(&name, protocol, port),
                        model.name(&name, protocol, port),
                        "{} {} {}", name, protocol, port
                    );
                }
            }
        }
        // The rules lie apart from each other, in order.
        for rules in [&resolved.allowed, &resolved.denied] {
            for (place, rule) in rules.iter().enumerate() {
                prop_assert!(rule.first <= rule.last && rule.ports.first <= rule.ports.last);
                for other in &rules[..place] {
                    prop_assert!(other < rule);
                    let apart = other.protocol != rule.protocol
                        || other.first.is_ipv4() != rule.first.is_ipv4()
                        || other.last < rule.first
                        || rule.last < other.first
                        || other.ports.last < rule.ports.first
                        || rule.ports.last < other.ports.first;
                    prop_assert!(apart, "{:?} {:?}", other, rule);
                }
            }
        }
        // The order of what is written does not matter.
        if reversed {
            wanted.allow.reverse();
            wanted.deny.reverse();
        }
        prop_assert_eq!(networks.resolve(&wanted, &facts()).unwrap(), resolved);
    }
}
