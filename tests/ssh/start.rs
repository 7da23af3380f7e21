//! Where sessions begin, and where relative paths of copies lead.

use std::io::Write;
use std::process::Stdio;

use super::with_taskspace;
use crate::common::succeed;

/// Stands for ssh: begins in the home directory and hands the words to the login shell, as sshd does.
const REMOTE_SHELL: &str =
    "#!/bin/sh\nshift\ncd\nexec /usr/local/lib/symposium/login-shell -c \"$*\"\n";

#[test]
fn sessions_begin_in_the_checkout_and_copies_in_the_home_directory() {
    let user = with_taskspace("begin");
    let ssh = |host: &str, arguments: &[&str]| succeed(&mut user.ssh(host, arguments));
    for host in ["begin-dev", "begin-agent"] {
        assert_eq!(ssh(host, &["pwd"]), "/workspace\n");
        assert_eq!(ssh(host, &["-tt", "pwd"]).trim_end(), "/workspace");
    }
    assert_eq!(
        user.run(&["ssh", "begin", "cat", "README.md"]),
        user.run(&["exec", "begin", "cat", "README.md"])
    );
    assert_eq!(user.run(&["ssh", "begin", "--agent", "--", "pwd"]), "/workspace\n");
    assert_eq!(
        ssh("begin-dev", &["echo ~ $HOME $SHELL"]),
        "/home/developer /home/developer /bin/bash\n"
    );
    let failed = user.ssh("begin-dev", &["exit 7"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(7));
    // Without a command: a login shell, which editors feed with a script.
    let script = |arguments: &[&str], text: &str| {
        let mut shell = user.ssh("begin-dev", arguments);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(script(&["-T"], "shopt -q login_shell && pwd\n"), "/workspace\n");
    assert_eq!(script(&["-T", "bash"], "pwd; cd; pwd\n"), "/workspace\n/home/developer\n");

    let config = user.ssh_config();
    std::fs::write(user.path("home/file"), "over\n").unwrap();
    for (option, to) in [("-s", "by-sftp"), ("-O", "by-scp"), ("-O", "~/by-home")] {
        let mut scp = user.command("scp");
        succeed(scp.arg("-F").arg(&config).arg(option).args(["file", &format!("begin-dev:{to}")]));
    }
    succeed(user.command("sftp").arg("-F").arg(&config).args(["begin-dev:by-sftp", "back"]));
    assert_eq!(std::fs::read_to_string(user.path("home/back")).unwrap(), "over\n");
    let rsync = format!(
        "cat > /tmp/remote-shell <<'END'\n{REMOTE_SHELL}END\nchmod +x /tmp/remote-shell\n\
         rsync --rsh=/tmp/remote-shell ~/by-sftp host:by-rsync && ls ~"
    );
    assert_eq!(ssh("begin-dev", &[&rsync]), "by-home\nby-rsync\nby-scp\nby-sftp\n");
    assert_eq!(ssh("begin-dev", &["git status --porcelain"]), "");
}
