//! Takes out of what was found what may be told.

use std::net::IpAddr;

use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::terms::told;

/// How many aliases are followed, as most resolvers do.
const MAX_ALIASES: usize = 16;

/// How many values are handed out: more addresses nobody tries, and each has to be granted.
const MAX_VALUES: usize = 64;

/// What of an answer may be told.
#[derive(Debug, PartialEq)]
pub(in crate::dns) struct Sifted {
    /// The values of the asked kind.
    pub(in crate::dns) values: Vec<RData>,
    /// For how many seconds they hold.
    pub(in crate::dns) ttl: u32,
    /// The addresses that the name may not lead to.
    pub(in crate::dns) left_out: Vec<IpAddr>,
}

impl Sifted {
    /// Returns the addresses that are told.
    pub(in crate::dns) fn addresses(&self) -> Vec<IpAddr> {
        self.values.iter().filter_map(address_of).collect()
    }
}

/// Follows the aliases from a name to the records of a kind, and leaves out addresses that it may
/// not lead to.
///
/// The aliases are not told, and what is found is told of the name itself: a client that knows
/// an alias asks for it next time, and its name may not be allowed.
pub(in crate::dns) fn sift(
    name: &Name,
    kind: RecordType,
    records: &[Record],
    may_lead_to: impl Fn(IpAddr) -> bool,
) -> Sifted {
    let mut owner = name;
    let mut ttl = u32::MAX;
    if kind != RecordType::CNAME {
        for _ in 0..MAX_ALIASES {
            let alias = records.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == *owner => Some((&target.0, record.ttl)),
                _ => None,
            });
            let Some((target, lasting)) = alias else { break };
            owner = target;
            ttl = ttl.min(lasting);
        }
    }
    let mut sifted = Sifted { values: Vec::new(), ttl, left_out: Vec::new() };
    let found = records.iter().filter(|record| record.name == *owner);
    for record in found.filter(|record| record.record_type() == kind).take(MAX_VALUES) {
        match address_of(&record.data) {
            // An IPv4 address in the clothes of an IPv6 one is reached as what it is.
            Some(address) if address.to_canonical() != address || !may_lead_to(address) => {
                sifted.left_out.push(address);
            }
            _ => {
                sifted.ttl = sifted.ttl.min(record.ttl);
                sifted.values.push(record.data.clone());
            }
        }
    }
    sifted.ttl = told(sifted.ttl);
    sifted
}

fn address_of(value: &RData) -> Option<IpAddr> {
    match value {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn alias(from: &str, to: &str, ttl: u32) -> Record {
        Record::from_rdata(name(from), ttl, RData::CNAME(CNAME(name(to))))
    }

    fn address(of: &str, last: u8, ttl: u32) -> Record {
        Record::from_rdata(name(of), ttl, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
    }

    fn values(sifted: &Sifted) -> Vec<String> {
        sifted.addresses().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn aliases_are_followed_and_not_told() {
        let records = [
            address("c.", 1, 300),
            alias("b.", "C.", 60),
            address("elsewhere.", 9, 5),
            alias("a.", "b.", 600),
            address("c.", 2, 200),
        ];
        let sifted = sift(&name("A."), RecordType::A, &records, |_| true);
        assert_eq!(values(&sifted), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(sifted.ttl, 60);

        let sifted = sift(&name("a."), RecordType::CNAME, &records, |_| true);
        assert_eq!(sifted.values, [RData::CNAME(CNAME(name("b.")))]);
        assert_eq!(sifted.ttl, 600);
    }

    #[test]
    fn addresses_it_may_not_lead_to_are_left_out() {
        let records = [address("a.", 1, 60), address("a.", 2, 30)];
        let first = IpAddr::from([192, 0, 2, 1]);
        let sifted = sift(&name("a."), RecordType::A, &records, |address| address == first);
        assert_eq!(values(&sifted), ["192.0.2.1"]);
        assert_eq!(sifted.left_out, [IpAddr::from([192, 0, 2, 2])]);
        assert_eq!(sifted.ttl, 60);
    }

    #[test]
    fn a_circle_of_aliases_leads_nowhere() {
        let records = [alias("a.", "b.", 1), alias("b.", "a.", 1), alias("c.", "c.", 1)];
        for start in ["a.", "c.", "d."] {
            assert!(sift(&name(start), RecordType::A, &records, |_| true).values.is_empty());
        }
    }

    #[test]
    fn no_more_are_told_than_anybody_tries() {
        let records: Vec<Record> = (0..200).map(|last| address("a.", last, 60)).collect();
        assert_eq!(sift(&name("a."), RecordType::A, &records, |_| true).values.len(), MAX_VALUES);
    }
}
