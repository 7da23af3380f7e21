//! What a taskspace's policy says about names, and what becomes of the addresses that they lead to.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use super::Refusals;
use super::granted::Granted;
use crate::dns::{Grant, Refusal, Rules, Verdict, Warden};
use crate::host::grant_log::LoggedGrant;
use crate::host::pod_network::PodNetwork;
use crate::model::{HOST_ADDRESSES, HOST_ALIAS, HOST_NAME};
use crate::plan::ruleset::{NameScopes, NamedAddress, Ruleset, additions};

/// The names of a policy.
pub(super) struct Names(pub(super) Arc<Ruleset>);

impl Rules for Names {
    type Scope = NameScopes;

    fn fixed(&self, name: &str) -> Option<Vec<IpAddr>> {
        let is_host = [HOST_NAME, HOST_ALIAS].contains(&name);
        (is_host && !self.0.services().is_empty()).then(|| HOST_ADDRESSES.to_vec())
    }

    fn judge(&self, name: &str) -> Verdict<NameScopes> {
        let scopes = name.parse().ok().and_then(|name| self.0.scopes_of(&name));
        match scopes {
            Some(scopes) => Verdict::Allowed(scopes),
            None if self.0.policy().observe => Verdict::Observed(NameScopes::default()),
            None => Verdict::Refused,
        }
    }

    fn may_lead_to(&self, _scopes: &NameScopes, address: IpAddr) -> bool {
        self.0.policy().leads_to(address)
    }
}

/// Lets addresses through in the network of a pod.
pub(super) struct Gate {
    pub(super) network: PodNetwork,
    pub(super) refusals: Arc<Refusals>,
    pub(super) granted: Granted,
}

impl Warden<NameScopes> for Gate {
    async fn grant(
        &self,
        grants: Vec<Grant<NameScopes>>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let logged = grants.iter().map(|grant| LoggedGrant {
            name: grant.name.to_string(),
            address: grant.address,
            lasting: grant.lasting,
        });
        let logged = logged.collect();
        let text = additions(&addresses(grants));
        // What is open to all needs nothing.
        if !text.is_empty() {
            self.network.load(&text).await?;
        }
        self.granted.add(logged).await;
        Ok(())
    }

    fn refused(&self, refusal: Refusal) {
        self.refusals.note(refusal);
    }
}

/// Returns what rules need to know of grants.
pub(super) fn addresses(grants: Vec<Grant<NameScopes>>) -> Vec<NamedAddress> {
    let address = |grant: Grant<NameScopes>| NamedAddress {
        address: grant.address,
        scopes: grant.scope,
        lasting: grant.lasting,
    };
    grants.into_iter().map(address).collect()
}
