//! `taskspace network`

mod blocked;

use std::time::Duration;

use clap::Args;
use comfy_table::{Cell, Color};
use jiff::Timestamp;

use super::arguments::Doing;
use super::context::Context;
use super::output::{Output, Stop, span};
use super::show::Page;
use super::{Exit, Outcome, confirm, progress};
use crate::model::{
    Code, Destination, DomainName, HostServiceView, NamePattern, NetworkChange, NetworkPolicy,
    NetworkRequest, NetworkState, PolicyName, PortSet, Problem, Protocol, TaskspaceId,
};
use crate::policy::text::Period;

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
      let everything through that is not yours, and list what the policy would refuse; for an hour, or
      as long as `--for 30m` says, and no longer than until `enforce` or the name of a policy
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
    /// With `observe`: for how long, such as 30m [default: 1h]
    #[arg(long = "for", value_name = "DURATION")]
    lasting: Option<Period>,
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
    /// Let through, and list, what the policy would refuse, for an hour or as long as is said
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1h"
    )]
    observe: Option<Period>,
}

impl Flags {
    /// Returns what is asked for.
    pub(super) fn request(self) -> NetworkRequest {
        let Self { network, allow, deny, observe } = self;
        let observe_seconds = observe.map(seconds);
        let observe = observe.is_some();
        NetworkRequest { policy: network, allow, deny, observe, observe_seconds }
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
        if self.lasting.is_some() && self.what != "observe" {
            let detail = "`--for` says how long to observe";
            return Err(Problem::new(Code::MessageFormatInvalid, detail)
                .hint(format!("`taskspace network {} observe --for 30m`", self.id))
                .into());
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
            "observe" => {
                let observe_seconds = self.lasting.map(seconds);
                NetworkChange { observe: Some(true), observe_seconds, ..same }
            }
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
        let network = context.call(async |client| client.network(id).await).await?;
        match self.doing.json.json {
            true => context.output.json(&network)?,
            false => {
                let mut page = Page::default();
                lines(&mut page, &network.policy, &network.state, Timestamp::now());
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

/// Returns how many seconds a time has, rounded up.
fn seconds(Period(lasting): Period) -> u64 {
    lasting.as_secs() + u64::from(lasting.subsec_nanos() > 0)
}

fn web(name: &DomainName) -> [Destination; 2] {
    WEB.map(|port| {
        let ports = PortSet::one(Protocol::Tcp, port);
        Destination::Name(NamePattern::from(name.clone()), ports)
    })
}

/// Returns the policy of a taskspace in a table.
pub(super) fn cell(policy: &NetworkPolicy, now: Timestamp) -> Cell {
    match policy.observes(now) {
        Some(left) => {
            let text = format!("{}, OBSERVING {}", policy.name, left_over(left));
            Cell::new(text).fg(Color::Red)
        }
        None => Cell::new(&policy.name),
    }
}

/// Returns how long something lasts still.
fn left_over(left: Duration) -> String {
    span(i64::try_from(left.as_secs()).unwrap_or(i64::MAX))
}

/// Adds what a taskspace may reach.
pub(super) fn section(
    page: &mut Page,
    policy: &NetworkPolicy,
    state: &NetworkState,
    now: Timestamp,
) {
    page.section("Network");
    lines(page, policy, state, now);
}

fn lines(page: &mut Page, policy: &NetworkPolicy, state: &NetworkState, now: Timestamp) {
    let list = |destinations: &[Destination]| -> Vec<String> {
        destinations.iter().map(Destination::to_string).collect()
    };
    page.line("Policy", &policy.name);
    page.lines("Denied", &list(&policy.deny));
    page.lines("Allowed", &list(&policy.allow));
    let service = |it: &HostServiceView| format!("host:{} at {}", it.name, it.address);
    page.lines("Services", &state.host_services.iter().map(service).collect::<Vec<_>>());
    if let Some(recorded) = &state.instead_of {
        let allowed: String = recorded.allow.iter().map(|it| format!(" {it}")).collect();
        let with = if allowed.is_empty() { "" } else { " with" };
        page.line("Instead of", format!("{}{with}{allowed}", recorded.name));
    }
    page.lines("Because", state.reason.as_slice());
    if let Some(left) = policy.observes(now) {
        let left = left_over(left);
        let what = "NOT ENFORCED: what the policy would refuse is let through, and listed";
        page.line("Observing", format!("{what}, for another {left} (or until `enforce`)"));
    }
}
