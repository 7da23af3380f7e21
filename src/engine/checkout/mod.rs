//! Asks git about a taskspace's checkout, in a container that is made for that.
//!
//! Neither on the host nor in a container of the taskspace: the repository is the agent's, and so may
//! programs in its containers be. The container for it has the checkout, its base and its changes to
//! read, and no network, no credentials and no privileges but that to read. `templates/checkout/look.sh`
//! compares without the repository's settings. What git says is not relied on either: it is text.

mod aside;
mod diff;
mod ending;
mod files;
mod output;
mod unsaved;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::diff::DiffText;
use self::ending::Ending;
use self::output::Output;
use super::{Inner, problems};
use crate::model::{Code, Problem, Record, Status, TaskspaceId};
use crate::podman::ExecSpec;

/// Where the checkout is.
const PLACE: &str = "/workspace";

/// The user that may read all that is in the checkout.
const ROOT: &str = "root";

/// What every script begins with.
const LOOK: &str = include_str!("../../../templates/checkout/look.sh");

/// Settings that go before those of the repository: nothing is run that git need not run, and nothing
/// is fetched or written that it need not write.
const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.splitIndex", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.fileMode", "true"),
    ("core.symlinks", "true"),
    ("core.ignoreCase", "false"),
    ("core.safecrlf", "false"),
    ("core.quotePath", "true"),
    ("core.bigFileThreshold", "512m"),
    // What is written is removed soon.
    ("core.fsync", "none"),
    ("core.looseCompression", "1"),
    // Whoever made what is in the checkout, it is the taskspace's.
    ("safe.directory", "*"),
    ("diff.noPrefix", "false"),
    ("diff.mnemonicPrefix", "false"),
    ("diff.suppressBlankEmpty", "false"),
    ("diff.statNameWidth", "0"),
    ("diff.statGraphWidth", "0"),
    ("log.follow", "false"),
    ("color.ui", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];

/// Variables of every run of git.
const VARIABLES: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_PAGER", "cat"),
];

impl Inner {
    /// Runs a script that looks at a taskspace's checkout. The script's last argument is the word that it
    /// has to end with.
    async fn ask_git(
        self: &Arc<Self>,
        id: &TaskspaceId,
        record: &Record,
        question: String,
        script: &str,
        arguments: &[&str],
    ) -> Result<Output, Problem> {
        if record.is_half_made() || record.status == Status::Deleting {
            let detail = format!("'{id}' is {}, and has no checkout to look at", record.status);
            return Err(Problem::new(Code::StateConflict, detail));
        }
        let (podman, _) = self.link.get().await?;
        let ending = Ending::new();
        let words = [arguments, &[ending.word()]].concat();
        let spec = command(ROOT, &format!("{LOOK}{script}"), &words);
        let aside = self.make_aside(&podman, id, record).await?;
        let session = podman.exec(aside.name(), spec).await.map_err(problems::podman)?;
        Ok(Output::new(question, session, ending, aside))
    }
}

/// Returns what runs a script at the top of a checkout.
pub(super) fn command(user: &str, script: &str, arguments: &[&str]) -> ExecSpec {
    let shell = ["sh", "-c", script, "sh"];
    ExecSpec {
        cmd: shell.iter().chain(arguments).map(|word| (*word).to_owned()).collect(),
        user: Some(user.to_owned()),
        workdir: Some(PLACE.to_owned()),
        env: environment(),
        ..ExecSpec::default()
    }
}

fn environment() -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut variables: BTreeMap<String, String> = VARIABLES.iter().map(owned).collect();
    variables.insert("GIT_CONFIG_COUNT".to_owned(), SETTINGS.len().to_string());
    for (n, (key, value)) in SETTINGS.iter().enumerate() {
        variables.insert(format!("GIT_CONFIG_KEY_{n}"), (*key).to_owned());
        variables.insert(format!("GIT_CONFIG_VALUE_{n}"), (*value).to_owned());
    }
    variables
}
