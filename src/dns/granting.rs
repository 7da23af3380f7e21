//! Has addresses let through before they are told, and rules replaced with nothing in between.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio::time::timeout;

use super::filter::{Ledger, lasting, needed};
use super::rules::{Grant, Remembered, Rules, Verdict, Warden};

/// How long the warden may take: less than a client waits for its answer.
const GRANT_TIMEOUT: Duration = Duration::from_secs(3);

/// How many wishes one call of the warden takes along.
const BATCH: usize = 64;

/// The time to live with which a grant is made anew that is in use.
const HELD: u32 = 60;

/// The rules of a running filter and what is granted by them.
pub(super) struct Granting<R> {
    state: Mutex<State<R>>,
    /// Held while the warden is at it, and while rules are changed.
    gate: Arc<tokio::sync::Mutex<()>>,
    wishes: mpsc::Sender<Wish<R>>,
}

struct State<R> {
    rules: Arc<R>,
    ledger: Ledger,
}

/// Addresses that somebody waits for.
pub(super) struct Wish<R> {
    rules: Arc<R>,
    name: Arc<str>,
    addresses: Vec<IpAddr>,
    ttl: u32,
    done: oneshot::Sender<Granted>,
}

/// What came of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    /// The addresses are let through.
    Yes,
    /// The rules are others by now.
    Outdated,
    /// The warden failed.
    Failed(String),
}

impl<R: Rules> Granting<R> {
    pub(super) fn new(rules: R, remembered: Vec<Remembered>) -> (Self, mpsc::Receiver<Wish<R>>) {
        let (wishes, receiver) = mpsc::channel(BATCH);
        let mut ledger = Ledger::default();
        let now = Instant::now();
        for Remembered { name, address, lasting } in remembered {
            ledger.note(&name, address, now + lasting, now);
        }
        ledger.retain(|(name, address), _| scope_of(&rules, name, *address).is_some());
        let state = State { rules: Arc::new(rules), ledger };
        (Self { state: Mutex::new(state), gate: Arc::default(), wishes }, receiver)
    }

    /// Returns the rules as they are now.
    pub(super) fn rules(&self) -> Arc<R> {
        Arc::clone(&self.lock().rules)
    }

    /// Has addresses let through, for an answer with this time to live that is due by these rules.
    pub(super) async fn ask(
        &self,
        rules: &Arc<R>,
        name: Arc<str>,
        addresses: Vec<IpAddr>,
        ttl: u32,
    ) -> Granted {
        {
            let state = self.lock();
            if !Arc::ptr_eq(&state.rules, rules) {
                return Granted::Outdated;
            }
            if state.ledger.covers(&name, &addresses, Instant::now() + needed(ttl)) {
                return Granted::Yes;
            }
        }
        let (done, answer) = oneshot::channel();
        let wish = Wish { rules: Arc::clone(rules), name, addresses, ttl, done };
        if self.wishes.send(wish).await.is_err() {
            return ended();
        }
        answer.await.unwrap_or_else(|_| ended())
    }

    /// Has grants made anew that end soon, or have ended, and are in use.
    pub(super) async fn hold(&self, is_used: impl Fn(&R::Scope, IpAddr) -> bool) {
        let rules = self.rules();
        let mut used: HashMap<Arc<str>, Vec<IpAddr>> = HashMap::new();
        {
            let state = self.lock();
            for (name, address, rest) in state.ledger.all(Instant::now()) {
                if rest < needed(HELD)
                    && scope_of(&*rules, name, address).is_some_and(|it| is_used(&it, address))
                {
                    used.entry(Arc::clone(name)).or_default().push(address);
                }
            }
        }
        let asks =
            used.into_iter().map(|(name, addresses)| self.ask(&rules, name, addresses, HELD));
        futures_util::future::join_all(asks).await;
    }

    /// Fulfils wishes, one call of the warden at a time: those that come meanwhile go together.
    pub(super) async fn fulfil(
        &self,
        warden: &impl Warden<R::Scope>,
        mut wishes: mpsc::Receiver<Wish<R>>,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        while wishes.recv_many(&mut batch, BATCH).await > 0 {
            let _gate = self.gate.lock().await;
            let rules = self.rules();
            let (wishes, outdated): (Vec<_>, Vec<_>) =
                batch.drain(..).partition(|wish| Arc::ptr_eq(&wish.rules, &rules));
            for wish in outdated {
                // Whoever asked may be gone; nobody else wants to know.
                let _ = wish.done.send(Granted::Outdated);
            }
            let came = self.call(warden, &rules, &wishes).await;
            for wish in wishes {
                let _ = wish.done.send(came.clone());
            }
        }
    }

    async fn call(&self, warden: &impl Warden<R::Scope>, rules: &R, wishes: &[Wish<R>]) -> Granted {
        let now = Instant::now();
        let grants = self.missing(rules, wishes, now);
        if grants.is_empty() {
            return Granted::Yes;
        }
        let noted: Vec<_> = grants
            .iter()
            .map(|grant| (Arc::clone(&grant.name), grant.address, now + grant.lasting))
            .collect();
        match timeout(GRANT_TIMEOUT, warden.grant(grants)).await {
            Ok(Ok(())) => {
                let mut state = self.lock();
                for (name, address, until) in noted {
                    state.ledger.note(&name, address, until, now);
                }
                Granted::Yes
            }
            Ok(Err(error)) => Granted::Failed(error.to_string()),
            Err(_) => Granted::Failed(format!("no answer within {GRANT_TIMEOUT:?}")),
        }
    }

    /// Returns the grants that are wished for and not in force, each of them once.
    fn missing(&self, rules: &R, wishes: &[Wish<R>], now: Instant) -> Vec<Grant<R::Scope>> {
        let state = self.lock();
        let mut places = HashMap::new();
        let mut grants: Vec<Grant<R::Scope>> = Vec::new();
        for wish in wishes {
            let until = now + needed(wish.ttl);
            // Other wishes were fulfilled since this one was sent.
            if state.ledger.covers(&wish.name, &wish.addresses, until) {
                continue;
            }
            let (Verdict::Allowed(scope) | Verdict::Observed(scope)) = rules.judge(&wish.name)
            else {
                continue;
            };
            let lasting = lasting(wish.ttl);
            for address in &wish.addresses {
                match places.entry((&wish.name, address)) {
                    Entry::Occupied(place) => {
                        let grant: &mut Grant<_> = &mut grants[*place.get()];
                        grant.lasting = grant.lasting.max(lasting);
                    }
                    Entry::Vacant(place) => {
                        place.insert(grants.len());
                        let name = Arc::clone(&wish.name);
                        let scope = scope.clone();
                        grants.push(Grant { name, scope, address: *address, lasting });
                    }
                }
            }
        }
        grants
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns for what a name may lead to an address.
fn scope_of<R: Rules>(rules: &R, name: &str, address: IpAddr) -> Option<R::Scope> {
    match rules.judge(name) {
        Verdict::Allowed(scope) | Verdict::Observed(scope) => {
            rules.may_lead_to(&scope, address).then_some(scope)
        }
        Verdict::Refused => None,
    }
}

/// Returns the grants that rules make of what is remembered; what is over lasts for no time.
pub fn grants<R: Rules>(remembered: &[Remembered], rules: &R) -> Vec<Grant<R::Scope>> {
    let grant = |it: &Remembered| {
        let scope = scope_of(rules, &it.name, it.address)?;
        let Remembered { name, address, lasting } = it.clone();
        Some(Grant { name, scope, address, lasting })
    };
    remembered.iter().filter_map(grant).collect()
}

fn ended() -> Granted {
    Granted::Failed("the filter has ended".into())
}

/// A change of a filter's rules; nothing is granted until it is committed or dropped.
///
/// What holds the addresses is to be changed meanwhile, in one act with the rest of the policy and
/// with what [`grants`] makes of [`Change::remembered`]. Dropped, it leaves everything as it was.
#[must_use]
pub struct Change<R> {
    granting: Arc<Granting<R>>,
    _gate: OwnedMutexGuard<()>,
}

impl<R: Rules> Change<R> {
    pub(super) async fn begin(granting: Arc<Granting<R>>) -> Self {
        let gate = Arc::clone(&granting.gate).lock_owned().await;
        Self { granting, _gate: gate }
    }

    /// Returns what the filter has granted so far: what is in force, and what was, by which
    /// connections may have been made that go on.
    pub fn remembered(&self) -> Vec<Remembered> {
        let state = self.granting.lock();
        let remembered = state.ledger.all(Instant::now()).map(|(name, address, lasting)| {
            let name = Arc::clone(name);
            Remembered { name, address, lasting }
        });
        remembered.collect()
    }

    /// Has the filter go by these rules from now on, and forget what they do not grant.
    ///
    /// A question that is being looked up is answered by these.
    pub fn commit(self, rules: R) {
        let mut state = self.granting.lock();
        state.ledger.retain(|(name, address), _| scope_of(&rules, name, *address).is_some());
        state.rules = Arc::new(rules);
    }
}
