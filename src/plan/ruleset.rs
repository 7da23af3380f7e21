//! What nft loads into a pod's network for a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::model::{DomainName, HOST_ADDRESSES, NamePattern, PortRange, Protocol, Role};
use crate::policy::network::{AddressRule, NameAnswer, Openness, PortsByProtocol, Resolved};
use crate::render::{NftFamily, NftPorts, NftRuleset, NftScope};

/// The table, in the network of each pod.
pub const TABLE: &str = "taskspace";

/// What the names of the sets begin with in which stands what was refused.
pub const REFUSED_SETS: &str = "refused";

/// What the names of the sets begin with in which stands what was let through to be observed.
pub const OBSERVED_SETS: &str = "observed";

/// How many different places are remembered that were refused.
pub const REFUSED_SIZE: u32 = 4096;

/// How many addresses of names can be let through at the same time.
const NAMED_SIZE: u32 = 65_536;

/// The mark of connections that came in from outside; those that go out have others, and all have 0 at first.
const CALLER_MARK: u32 = 1;

/// How long one of them is remembered after it was refused the last time, in seconds.
pub const REFUSED_SECONDS: u32 = 24 * 60 * 60;

/// The rules of a policy, and which names they are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    resolved: Resolved,
    /// The different sets of ports that names are allowed or denied for.
    scopes: Vec<Scope>,
}

/// Ports that the addresses of some names are allowed or denied for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    denies: bool,
    ports: PortsByProtocol,
}

/// The scopes that the addresses of a name belong to, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameScopes(Vec<usize>);

/// An address that a name has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAddress {
    /// The address.
    pub address: IpAddr,
    /// What the name is allowed or denied for.
    pub scopes: NameScopes,
    /// For how long from now on; for no time where only connections go on that it was good for.
    pub lasting: Duration,
}

impl Ruleset {
    /// Returns the rules of a policy.
    pub fn new(resolved: Resolved) -> Self {
        let patterns = resolved.denied_names.iter().chain(&resolved.allowed_names);
        let names = patterns.filter_map(|rule| example(&rule.pattern));
        let answers: Vec<NameAnswer> = names.filter_map(|name| resolved.name(&name)).collect();
        // What denies goes before what allows.
        let denied =
            answers.iter().map(|answer| Scope { denies: true, ports: answer.denied.clone() });
        let allowed =
            answers.iter().map(|answer| Scope { denies: false, ports: answer.allowed.clone() });
        let mut scopes: Vec<Scope> = Vec::new();
        for scope in denied.chain(allowed).filter(|scope| !scope.ports.is_empty()) {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        Self { resolved, scopes }
    }

    /// Returns the ports of the services of the host that may be reached.
    pub fn services(&self) -> BTreeSet<u16> {
        self.resolved.services.iter().map(|service| service.port).collect()
    }

    /// Returns the policy that they are of.
    pub fn policy(&self) -> &Resolved {
        &self.resolved
    }

    /// Returns what a name is allowed or denied for; none when it is not answered.
    pub fn scopes_of(&self, name: &DomainName) -> Option<NameScopes> {
        let NameAnswer { allowed, denied } = self.resolved.name(name)?;
        let is_it = |scope: &Scope| match scope.denies {
            true => scope.ports == denied,
            false => scope.ports == allowed,
        };
        let numbers = self.scopes.iter().enumerate().filter(|(_, scope)| is_it(scope));
        Some(NameScopes(numbers.map(|(number, _)| number).collect()))
    }

    /// Whether the addresses of a name are let through on a port because of it.
    pub fn lets_through(&self, scopes: &NameScopes, protocol: Protocol, port: u16) -> bool {
        let mut scopes = scopes.0.iter().filter_map(|number| self.scopes.get(*number));
        scopes.any(|scope| !scope.denies && scope.ports.contains(protocol, port))
    }

    /// Returns what the template of the rules needs, with the addresses of names that are let through
    /// already, or were.
    ///
    /// `forwarded` has the port on the pod's loopback for each port of a service of the host that is
    /// reached there.
    /// What is only observed is let through for as long as `observing` says, whatever becomes of the
    /// service.
    pub fn view(
        &self,
        named: &[NamedAddress],
        forwarded: &BTreeMap<u16, u16>,
        observing: Duration,
    ) -> NftRuleset {
        let resolved = &self.resolved;
        let services = self.services().into_iter().collect();
        let is_open = resolved.like == Openness::Open;
        let verdict = if is_open { "pass" } else { "refuse" };
        let observing = if resolved.observe && !is_open { observing.as_secs() } else { 0 };
        let scopes = self.scopes.iter().enumerate().map(|(number, scope)| NftScope {
            number,
            denies: scope.denies,
            protocols: Protocol::ALL
                .into_iter()
                .filter(|protocol| !scope.ports.of(*protocol).is_empty())
                .map(|protocol| NftPorts {
                    name: protocol.name(),
                    ports: scope.ports.of(protocol).iter().map(PortRange::to_string).collect(),
                })
                .collect(),
            elements: elements_of(number, named),
            kept: kept_of(number, named),
        });
        NftRuleset {
            table: TABLE,
            mark: self.mark(),
            // Another one than those of policies, but for two that are next to each other.
            observed_mark: self.mark().checked_add(1).unwrap_or(CALLER_MARK + 1),
            observing,
            verdict,
            // Who is denied names could ask somebody else for their addresses.
            own_dns_only: !resolved.denied_names.is_empty(),
            caller_mark: CALLER_MARK,
            named_size: NAMED_SIZE,
            ssh_ports: Role::ALL.map(Role::port).into(),
            services,
            forwarded: forwarded
                .iter()
                .map(|(port, inside)| format!("{port} : {inside}"))
                .collect(),
            families: vec![self.family(true), self.family(false)],
            scopes: scopes.collect(),
            refused_size: REFUSED_SIZE,
            refused_seconds: REFUSED_SECONDS,
        }
    }

    fn family(&self, is_v4: bool) -> NftFamily {
        let Resolved { host, closed, denied, allowed, .. } = &self.resolved;
        let rules = |rules: &[AddressRule]| {
            rules.iter().filter(|rule| rule.first.is_ipv4() == is_v4).map(element).collect()
        };
        let host = host.iter().filter(|address| address.is_ipv4() == is_v4);
        let closed = closed.iter().filter(|range| range.first().is_ipv4() == is_v4);
        let (version, keyword, kind) =
            if is_v4 { ("4", "ip", "ipv4_addr") } else { ("6", "ip6", "ipv6_addr") };
        NftFamily {
            version,
            keyword,
            kind,
            gateway: HOST_ADDRESSES[usize::from(!is_v4)],
            host: host.map(ToString::to_string).collect(),
            closed: closed.map(|range| span(range.first(), range.last())).collect(),
            barred: barred(denied, is_v4),
            denied: rules(denied),
            allowed: rules(allowed),
        }
    }

    /// Returns the mark of connections that this policy has let through: the same for the same policy,
    /// another one for another, and none that others have.
    fn mark(&self) -> u32 {
        let digest = Sha256::digest(format!("{:?}", self.resolved));
        let bytes = [digest[0], digest[1], digest[2], digest[3]];
        u32::from_be_bytes(bytes).max(CALLER_MARK + 1)
    }
}

/// Returns what nft has to do to let addresses of names through, or to have them last for longer: all of
/// it in one transaction.
///
/// One that is there already keeps its time on some kernels when it is added, so it is made anew.
pub fn additions(named: &[NamedAddress]) -> String {
    let mut numbers: Vec<usize> = named.iter().flat_map(|it| it.scopes.0.clone()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut text = String::new();
    for number in numbers {
        for (version, addresses) in longest(number, named) {
            if addresses.is_empty() {
                continue;
            }
            let set = format!("named{version}_{number}");
            let plain: Vec<String> = addresses.keys().map(IpAddr::to_string).collect();
            let timed: Vec<String> = addresses.iter().map(timed).collect();
            let (plain, timed) = (plain.join(", "), timed.join(", "));
            for (act, elements) in [("add", &plain), ("delete", &plain), ("add", &timed)] {
                text.push_str(&format!("{act} element inet {TABLE} {set} {{ {elements} }}\n"));
            }
        }
    }
    text
}

/// Returns what nft has to do to forget what was refused.
pub fn forget_refused() -> String {
    let sets = [REFUSED_SETS, OBSERVED_SETS].map(|kind| {
        ["4", "6", "_others4", "_others6"]
            .map(|end| format!("flush set inet {TABLE} {kind}{end}\n"))
            .concat()
    });
    sets.concat()
}

/// Returns a name that a pattern is about, and, if it can be, no narrower one: the ports of all names are
/// those of one of these.
fn example(pattern: &NamePattern) -> Option<DomainName> {
    pattern.to_string().replacen('*', "any--other", 1).parse().ok()
}

fn elements_of(scope: usize, named: &[NamedAddress]) -> BTreeMap<&'static str, Vec<String>> {
    longest(scope, named)
        .map(|(version, addresses)| (version, addresses.iter().map(timed).collect()))
        .into()
}

/// Returns the addresses in a scope, by their version, whether or not they are let through still.
fn kept_of(scope: usize, named: &[NamedAddress]) -> BTreeMap<&'static str, BTreeSet<IpAddr>> {
    let is_in = |it: &&NamedAddress| it.scopes.0.contains(&scope);
    let (v4, v6) = named
        .iter()
        .filter(is_in)
        .map(|it| it.address)
        .partition(|address: &IpAddr| address.is_ipv4());
    [("4", v4), ("6", v6)].into()
}

/// Returns for how many seconds addresses are in a scope, by their version: a set has an address once, however
/// many names lead to it.
fn longest(scope: usize, named: &[NamedAddress]) -> [(&'static str, BTreeMap<IpAddr, u64>); 2] {
    let mut longest: BTreeMap<IpAddr, u64> = BTreeMap::new();
    let is_in = |it: &&NamedAddress| !it.lasting.is_zero() && it.scopes.0.contains(&scope);
    for it in named.iter().filter(is_in) {
        let seconds = longest.entry(it.address).or_default();
        *seconds = it.lasting.as_secs().max(1).max(*seconds);
    }
    let (v4, v6) = longest.into_iter().partition(|(address, _)| address.is_ipv4());
    [("4", v4), ("6", v6)]
}

fn timed((address, seconds): (&IpAddr, &u64)) -> String {
    format!("{address} timeout {seconds}s")
}

fn element(rule: &AddressRule) -> String {
    let addresses = span(rule.first, rule.last);
    format!("{addresses} . {} . {}", rule.protocol, rule.ports)
}

/// Returns the ranges that are denied on all ports: what has no ports is denied there, too.
fn barred(denied: &[AddressRule], is_v4: bool) -> Vec<String> {
    let whole = |protocol| {
        let is_whole = move |rule: &&AddressRule| {
            rule.protocol == protocol
                && rule.ports == PortRange::ALL
                && rule.first.is_ipv4() == is_v4
        };
        denied.iter().filter(is_whole)
    };
    let pairs =
        whole(Protocol::Tcp).flat_map(|tcp| whole(Protocol::Udp).map(move |udp| (tcp, udp)));
    let common = |(tcp, udp): (&AddressRule, &AddressRule)| {
        let (first, last) = (tcp.first.max(udp.first), tcp.last.min(udp.last));
        (first <= last).then(|| span(first, last))
    };
    pairs.filter_map(common).collect()
}

fn span<T: Display + PartialEq>(first: T, last: T) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Destination, NetworkPolicy};
    use crate::policy::network::{HostFacts, NetworkFile, Networks};
    use crate::render::nft_ruleset;

    fn ruleset(policy: &str, allow: &[&str], deny: &[&str]) -> Ruleset {
        let list = |texts: &[&str]| -> Vec<Destination> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let name = policy.parse().unwrap();
        let (allow, deny) = (list(allow), list(deny));
        let policy = NetworkPolicy { allow, deny, ..NetworkPolicy::new(name) };
        let facts =
            HostFacts { addresses: vec!["192.0.2.1".parse().unwrap()], ..HostFacts::default() };
        let networks = Networks::from_files(&NetworkFile::built_in(), &BTreeMap::new()).unwrap();
        Ruleset::new(networks.resolve(&policy, &facts).unwrap())
    }

    fn text(ruleset: &Ruleset, named: &[NamedAddress]) -> String {
        nft_ruleset(&ruleset.view(named, &BTreeMap::new(), Duration::ZERO)).unwrap()
    }

    fn named(ruleset: &Ruleset, name: &str, address: &str) -> NamedAddress {
        let scopes = ruleset.scopes_of(&name.parse().unwrap()).unwrap();
        let lasting = Duration::from_secs(300);
        NamedAddress { address: address.parse().unwrap(), scopes, lasting }
    }

    #[test]
    fn each_name_has_the_ports_of_all_patterns_that_it_matches() {
        let allow = ["*.example.org:443", "git.example.org:22", "*.sub.example.org:80/tcp"];
        let ruleset = ruleset("isolated", &[], &[]);
        assert_eq!(ruleset.scopes_of(&"git.example.org".parse().unwrap()), None);
        let ruleset = self::ruleset("restricted", &allow, &["bad.example.org"]);
        assert_eq!(ruleset.scopes_of(&"example.org".parse().unwrap()), None);
        assert_eq!(ruleset.scopes_of(&"bad.example.org".parse().unwrap()), None);
        let ports = |name: &str| {
            let scopes = ruleset.scopes_of(&name.parse().unwrap()).unwrap();
            let [number] = scopes.0[..] else { panic!("{scopes:?}") };
            let tcp: Vec<String> =
                ruleset.scopes[number].ports.tcp.iter().map(ToString::to_string).collect();
            tcp.join(",")
        };
        assert_eq!(ports("a.example.org"), "443");
        assert_eq!(ports("git.example.org"), "22,443");
        assert_eq!(ports("a.b.sub.example.org"), "80,443");
    }

    #[test]
    fn what_denies_goes_before_what_allows() {
        let ruleset = ruleset("open", &["a.example.org:443"], &["*.example.org:80"]);
        let text = text(&ruleset, &[named(&ruleset, "a.example.org", "198.51.100.7")]);
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        let order = [
            "meta l4proto . meta l4proto != @filled drop",
            "ip daddr . meta l4proto . th dport @denied4 goto refuse",
            "ip daddr @host4 goto host",
            "ip daddr . meta l4proto . th dport @allowed4 goto pass",
            "ip daddr @named4_0 tcp dport { 80 } goto refuse",
            "ip daddr @named4_1 tcp dport { 443 } goto pass",
            "established,related ct mark != 0 ip daddr @kept4_1 tcp dport { 443 } goto pass",
            "th dport { 53, 853 } goto refuse",
            "ip daddr @closed4 goto refuse",
            "        goto pass\n    }\n\n    chain host",
        ];
        let places: Vec<usize> = order.into_iter().map(place).collect();
        assert!(places.is_sorted(), "{places:?}");
        // The kernel fills sets of ranges in this order.
        let sets = text.match_indices("    set ").map(|(place, _)| place);
        assert_eq!(sets.max(), Some(place("    set filled {")));
        for set in ["named4_0", "named4_1"] {
            let rest = &text[place(&format!("set {set} "))..];
            let elements = rest.find("198.51.100.7 timeout 300s").unwrap();
            assert!(elements < rest.find("    }").unwrap(), "{set}");
        }
    }

    #[test]
    fn an_address_whose_time_is_over_is_kept_for_connections_only() {
        let ruleset = ruleset("restricted", &["a.example.org:443"], &[]);
        let mut over = named(&ruleset, "a.example.org", "198.51.100.7");
        over.lasting = Duration::ZERO;
        let lasting = named(&ruleset, "a.example.org", "198.51.100.8");
        assert!(ruleset.lets_through(&over.scopes, Protocol::Tcp, 443));
        assert!(!ruleset.lets_through(&over.scopes, Protocol::Tcp, 80));
        let number = over.scopes.0[0];
        let text = text(&ruleset, &[over, lasting]);
        let elements = |set: &str| {
            let set = &text[text.find(&format!("set {set}_{number} ")).unwrap()..];
            set[..set.find("    }").unwrap()].lines().last().unwrap().trim().to_owned()
        };
        assert_eq!(elements("named4"), "elements = { 198.51.100.8 timeout 300s }");
        assert_eq!(elements("kept4"), "elements = { 198.51.100.7, 198.51.100.8 }");
    }

    #[test]
    fn what_is_denied_on_all_ports_is_denied_without_ports_too() {
        let deny =
            ["198.51.100.0/25", "198.51.100.128/25:1-65535/tcp", "2001:db8::7", "192.0.2.9:80"];
        let text = text(&ruleset("open", &[], &deny), &[]);
        let barred = |version| {
            let set = &text[text.find(&format!("set barred{version} ")).unwrap()..];
            set[..set.find("    }").unwrap()].lines().last().unwrap().trim().to_owned()
        };
        assert_eq!(barred("4"), "elements = { 198.51.100.0-198.51.100.127 }");
        assert_eq!(barred("6"), "elements = { 2001:db8::7 }");
        assert!(text.contains("ip daddr @barred4 goto refuse"), "{text}");
    }

    #[test]
    fn services_of_the_host_are_led_to_where_they_are_forwarded() {
        let ruleset = ruleset("open", &[], &[]);
        assert!(!text(&ruleset, &[]).contains("redirect"));
        let forwarded = [(5432, 41_001), (8791, 41_002)].into();
        let text = nft_ruleset(&ruleset.view(&[], &forwarded, Duration::ZERO)).unwrap();
        let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        place("elements = { 5432 : 41001, 8791 : 41002 }");
        place("ip6 daddr fd7a:5b3c:9e21::2 meta l4proto tcp redirect to :tcp dport map @forwarded");
        // What is not forwarded is refused before all that is on the loopback is let through.
        let refused = place("ip daddr 169.254.1.2 ct direction original goto refuse");
        assert!(refused < place("oif \"lo\" accept"));
        assert!(place("fib saddr type != local") < refused);
    }

    #[test]
    fn the_mark_is_that_of_the_policy() {
        let open = ruleset("open", &[], &[]);
        assert_eq!(open.mark(), ruleset("open", &[], &[]).mark());
        assert_ne!(open.mark(), ruleset("restricted", &[], &[]).mark());
        assert_ne!(open.mark(), ruleset("open", &[], &["example.org"]).mark());
    }

    #[test]
    fn an_address_that_several_names_lead_to_is_added_once() {
        let ruleset = ruleset("restricted", &["*.example.org:443"], &[]);
        let mut other = named(&ruleset, "b.example.org", "198.51.100.7");
        other.lasting = Duration::from_secs(900);
        let text = additions(&[named(&ruleset, "a.example.org", "198.51.100.7"), other]);
        let expected = "add element inet taskspace named4_0 { 198.51.100.7 }\n\
            delete element inet taskspace named4_0 { 198.51.100.7 }\n\
            add element inet taskspace named4_0 { 198.51.100.7 timeout 900s }\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn addresses_are_added_with_a_new_time() {
        let ruleset = ruleset("restricted", &["example.org:443"], &[]);
        let (v4, v6) = ("198.51.100.7", "2001:db8::7");
        let both = [named(&ruleset, "example.org", v4), named(&ruleset, "example.org", v6)];
        let set = both[0].scopes.0[0];
        let expected = format!(
            "add element inet taskspace named4_{set} {{ {v4} }}\n\
             delete element inet taskspace named4_{set} {{ {v4} }}\n\
             add element inet taskspace named4_{set} {{ {v4} timeout 300s }}\n\
             add element inet taskspace named6_{set} {{ {v6} }}\n\
             delete element inet taskspace named6_{set} {{ {v6} }}\n\
             add element inet taskspace named6_{set} {{ {v6} timeout 300s }}\n"
        );
        assert_eq!(additions(&both), expected);
        assert_eq!(additions(&[]), "");
        let open = self::ruleset("open", &[], &[]);
        assert_eq!(additions(&[named(&open, "example.org", v4)]), "");
    }
}
