//! `taskspace network`

mod blocked;

use clap::Args;

use super::arguments::Doing;
use super::context::Context;
use super::output::{Output, Stop};
use super::show::Page;
use super::{Exit, Outcome, confirm, progress};
use crate::model::{
    Code, Destination, DomainName, NamePattern, NetworkChange, NetworkPolicy, NetworkRequest,
    PolicyName, PortSet, Problem, Protocol, TaskspaceId,
};

const EXAMPLES: &str = "\
Examples:
  taskspace network fix-login
      show what it may reach
  taskspace network fix-login restricted
      change its policy (`taskspace policy list`); what that does not let through is cut
  taskspace network fix-login allow example.org:443 '*.example.com'
  taskspace network fix-login deny 192.0.2.7
  taskspace network fix-login reset example.org:443
      as the policy says again
  taskspace network fix-login observe
      let everything through that is not yours, and list what the policy would refuse
  taskspace network fix-login enforce
  taskspace network fix-login blocked --follow
      what was refused
  taskspace network fix-login allow-blocked
      allow the names that were refused, on the ports 80 and 443; shows them and asks before";

/// The ports on which names are allowed that were refused: which were meant, nobody knows.
const WEB: [u16; 2] = [80, 443];

/// What is done when nothing else is asked for.
const SHOW: &str = "show";

/// Lists what was refused.
const BLOCKED: &str = "blocked";

/// `taskspace network`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Network {
    /// The taskspace
    #[arg(value_name = "ID")]
    id: TaskspaceId,
    /// A policy, or what to do: show, allow, deny, reset, observe, enforce, blocked or allow-blocked
    #[arg(value_name = "POLICY|ACTION", default_value = SHOW)]
    what: String,
    /// Names, addresses, groups or services of this host, as in policies
    #[arg(value_name = "DESTINATION")]
    destinations: Vec<Destination>,
    /// With `blocked`: go on, and show what is refused from now on as well
    #[arg(long, short)]
    follow: bool,
    /// With `allow-blocked`: do not ask
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    doing: Doing,
}

/// What a new taskspace may reach.
#[derive(Clone, Debug, Args)]
pub(super) struct Flags {
    /// Its network policy, such as open, restricted or isolated (`taskspace policy list`) [default: that
    /// of its project or tier, or of the taskspace that is copied]
    #[arg(long, value_name = "POLICY")]
    network: Option<PolicyName>,
    /// What it may reach as well, such as example.org:443 (can be repeated)
    #[arg(long, value_name = "DESTINATION")]
    allow: Vec<Destination>,
    /// What it must not reach (can be repeated)
    #[arg(long, value_name = "DESTINATION")]
    deny: Vec<Destination>,
    /// Let through, and list, what the policy would refuse
    #[arg(long)]
    observe: bool,
}

impl Flags {
    /// Returns what is asked for.
    pub(super) fn request(self) -> NetworkRequest {
        let Self { network, allow, deny, observe } = self;
        NetworkRequest { policy: network, allow, deny, observe }
    }

    /// Returns what is asked for, if anything is.
    pub(super) fn chosen(self) -> Option<NetworkRequest> {
        let request = self.request();
        (request != NetworkRequest::default()).then_some(request)
    }
}

impl Network {
    pub(super) async fn run(mut self, context: &Context) -> Outcome {
        let context = &context.asking(self.doing.asking.asker()?);
        if let Some(id) = self.reversed(context).await? {
            (self.id, self.what) = (id, BLOCKED.to_owned());
        }
        let takes_destinations = matches!(self.what.as_str(), "allow" | "deny" | "reset");
        if takes_destinations == self.destinations.is_empty() {
            return Err(self.wrong_destinations().into());
        }
        match self.what.as_str() {
            SHOW => self.show(context).await,
            BLOCKED => blocked::list(context, &self.id, self.follow, self.doing.json.json).await,
            "allow-blocked" => {
                let names = blocked::names(context, &self.id).await?;
                if names.is_empty() {
                    context.output.note("No name was refused that could be allowed.");
                    return Ok(Exit::Done);
                }
                if !self.allows(context.output, &names)? {
                    return Ok(Exit::Failed);
                }
                let allow = names.iter().flat_map(web).collect();
                self.change(context, NetworkChange { allow, ..NetworkChange::default() }).await
            }
            _ => {
                let change = self.requested()?;
                self.change(context, change).await
            }
        }
    }

    /// Returns the taskspace that `blocked ID` is about, which reads as well as `ID blocked`; nothing where
    /// there is a taskspace that is called `blocked`.
    async fn reversed(&self, context: &Context) -> Result<Option<TaskspaceId>, Stop> {
        let may_be = self.what != SHOW && self.destinations.is_empty();
        if self.id.as_str() != BLOCKED || !may_be {
            return Ok(None);
        }
        let Ok(id) = self.what.parse() else { return Ok(None) };
        match context.call(async |client| client.network(&self.id).await).await {
            Ok(_) => Ok(None),
            Err(Stop::Problem(problem)) if problem.code == Code::TaskspaceNotFound => Ok(Some(id)),
            Err(stop) => Err(stop),
        }
    }

    /// Asks whether names are to be allowed: what runs in the taskspace decides which were refused.
    fn allows(&self, output: Output, names: &[DomainName]) -> Result<bool, Stop> {
        if self.force {
            return Ok(true);
        }
        let list: String = names.iter().map(|name| format!("\n  {name}")).collect();
        let detail = format!("what runs in '{}' has asked for these names:{list}", self.id);
        let refused = Problem::new(Code::MessageFormatInvalid, detail)
            .hint("with --force they are allowed; `taskspace network … allow` allows some of them");
        let question = "Allow them, on the ports 80 and 443?";
        confirm::all_the_same(output, Box::new(refused), question, "Nothing was allowed.")
    }

    fn wrong_destinations(&self) -> Problem {
        let what = &self.what;
        let detail = match self.destinations.is_empty() {
            true => format!("`{what}` needs a destination"),
            false => format!("`{what}` takes no destination"),
        };
        Problem::new(Code::MessageFormatInvalid, detail)
            .hint("see the examples of `taskspace network --help`")
    }

    fn requested(&self) -> Result<NetworkChange, Problem> {
        let destinations = || self.destinations.clone();
        let same = NetworkChange::default();
        Ok(match self.what.as_str() {
            "allow" => NetworkChange { allow: destinations(), ..same },
            "deny" => NetworkChange { deny: destinations(), ..same },
            "reset" => NetworkChange { reset: destinations(), ..same },
            "observe" => NetworkChange { observe: Some(true), ..same },
            "enforce" => NetworkChange { observe: Some(false), ..same },
            policy => {
                let policy = policy.parse();
                let policy =
                    policy.map_err(|why: String| Problem::new(Code::MessageFormatInvalid, why))?;
                NetworkChange { policy: Some(policy), ..same }
            }
        })
    }

    async fn show(&self, context: &Context) -> Outcome {
        let id = &self.id;
        let policy = context.call(async |client| client.network(id).await).await?;
        match self.doing.json.json {
            true => context.output.json(&policy)?,
            false => {
                let mut page = Page::default();
                lines(&mut page, &policy);
                context.output.print(&page.0)?;
            }
        }
        Ok(Exit::Done)
    }

    async fn change(&self, context: &Context, change: NetworkChange) -> Outcome {
        let id = &self.id;
        let begun = context.call(async |client| client.change_network(id, &change).await).await?;
        let (no_wait, json) = (self.doing.no_wait, self.doing.json.json);
        match progress::until_done(context, &begun, no_wait, false, json).await? {
            Some(exit) => Ok(exit),
            None => self.show(context).await,
        }
    }
}

fn web(name: &DomainName) -> [Destination; 2] {
    WEB.map(|port| {
        let ports = PortSet::one(Protocol::Tcp, port);
        Destination::Name(NamePattern::from(name.clone()), ports)
    })
}

/// Returns the policy of a taskspace in a table.
pub(super) fn cell(policy: &NetworkPolicy) -> String {
    format!("{}{}", policy.name, if policy.observe { " (observes)" } else { "" })
}

/// Adds what a taskspace may reach.
pub(super) fn section(page: &mut Page, policy: &NetworkPolicy) {
    page.section("Network");
    lines(page, policy);
}

fn lines(page: &mut Page, policy: &NetworkPolicy) {
    let list = |destinations: &[Destination]| -> Vec<String> {
        destinations.iter().map(Destination::to_string).collect()
    };
    page.line("Policy", &policy.name);
    page.lines("Denied", &list(&policy.deny));
    page.lines("Allowed", &list(&policy.allow));
    if policy.observe {
        page.line("Observes", "what the policy would refuse is let through, and listed");
    }
}
