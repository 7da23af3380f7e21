//! The child: alone in a user namespace, it does what it is asked for, once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use serde::Serialize;

use super::tree::{self, TreeError};
use super::wire::{Request, Said};
use crate::host::open_files;

/// Runs the child. The process must have no other threads.
pub fn run(input: impl Read + Send + 'static, mut output: impl Write) -> ExitCode {
    let mut input = BufReader::new(input);
    match serve(&mut input, &mut output) {
        Ok(Some(request)) => {
            end_with(input);
            done(answer(request, &mut output))
        }
        Ok(None) => ExitCode::FAILURE,
        Err(error) => done(Err(error)),
    }
}

/// Gets ready; returns what is asked for, unless that is nothing.
fn serve(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<Option<Request>> {
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWUSER) {
        return refuse("make a user namespace", errno, output);
    }
    say(&Said::<()>::Ready, output)?;
    let mut line = String::new();
    // What is asked for comes only when the ids are mapped.
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    if let Err(errno) = become_root() {
        return refuse("become root in a user namespace", errno, output);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

/// Takes the ids that are root's now that they are mapped: capabilities alone make no file root's,
/// and the groups of before have no part in this.
fn become_root() -> nix::Result<()> {
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    // A deep tree needs a descriptor for each directory on the way.
    open_files::raise()
}

fn refuse(
    doing: &str,
    errno: nix::errno::Errno,
    output: &mut impl Write,
) -> io::Result<Option<Request>> {
    say(&Said::<()>::Refused { doing: doing.to_owned(), errno: errno as i32 }, output)?;
    Ok(None)
}

/// Ends this process when nobody waits for it any more.
///
/// Not by `PR_SET_PDEATHSIG`: that is sent when the *thread* ends that started us (prctl(2)), and the
/// threads of the service come and go.
fn end_with(mut input: impl Read + Send + 'static) {
    std::thread::spawn(move || {
        let _ended = io::copy(&mut input, &mut io::sink());
        std::process::exit(1);
    });
}

fn answer(request: Request, output: &mut impl Write) -> io::Result<()> {
    match request {
        Request::Measure { directories } => tell(tree::measure(&directories), output),
        Request::Empty { directories } => tell(tree::empty(&directories), output),
        Request::Copy { from, to, excludes } => tell(tree::copy(&from, &to, &excludes), output),
        Request::Merge { lower, upper, to, upper_excludes, only } => {
            tell(tree::merge(lower.as_deref(), &upper, &to, &upper_excludes, only.as_ref()), output)
        }
    }
}

fn tell<T: Serialize>(result: Result<T, TreeError>, output: &mut impl Write) -> io::Result<()> {
    match result {
        Ok(value) => say(&Said::Done(value), output),
        Err(error) => say(&Said::<T>::Failed(error), output),
    }
}

fn say<T: Serialize>(said: &Said<T>, output: &mut impl Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

/// An error here is one of talking to the parent, which sees that we end.
fn done(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere to tell it if this fails too.
            let _lost = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
