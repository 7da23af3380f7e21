//! Every keyword of ssh_config(5) in the user's own configuration, with a value that would break a
//! connection.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::with_taskspace;
use crate::common::{User, succeed, text_of};

/// Keywords for which a taskspace's value holds, whatever the user's configuration says.
const KEPT_OUT: &[&str] = &[
    "AddKeysToAgent yes",
    "AddressFamily inet6",
    "BindAddress 192.0.2.1",
    "CASignatureAlgorithms rsa-sha2-512",
    "CanonicalizeHostname always",
    "ChannelTimeout session=1s",
    "CheckHostIP yes",
    "Ciphers aes128-cbc",
    "ClearAllForwardings yes",
    "Compression yes",
    "ConnectTimeout 1",
    "ControlMaster auto",
    "ControlPath /tmp/%r@%h",
    "ControlPersist yes",
    "DSAAuthentication no",
    "ExitOnForwardFailure yes",
    "ForkAfterAuthentication yes",
    "ForwardAgent yes",
    "ForwardX11 yes",
    "GSSAPIAuthentication yes",
    "GSSAPIKeyExchange yes",
    "GatewayPorts yes",
    "GlobalKnownHostsFile /nonexistent",
    "HostKeyAlgorithms rsa-sha2-512",
    "HostKeyAlias other",
    "HostName 192.0.2.1",
    "IdentitiesOnly no",
    "KeepAlive no",
    "KexAlgorithms diffie-hellman-group1-sha1",
    "KnownHostsCommand /bin/false",
    "MACs hmac-md5",
    "NoHostAuthenticationForLocalhost yes",
    "PKCS11Provider /nonexistent.so",
    "PermitLocalCommand yes",
    "Port 1",
    "PreferredAuthentications password",
    "ProtocolKeepAlives 1",
    "ProxyCommand false",
    "ProxyJump nobody@127.0.0.1:9",
    "ProxyUseFdpass yes",
    "PubkeyAcceptedAlgorithms rsa-sha2-512",
    "PubkeyAcceptedKeyTypes rsa-sha2-512",
    "PubkeyAuthentication no",
    "RekeyLimit 1K 1",
    "RemoteCommand false",
    "RequestTTY force",
    "RevokedHostKeys /nonexistent",
    "ServerAliveInterval 1",
    "SessionType none",
    "SetupTimeOut 1",
    "SmartcardDevice /nonexistent.so",
    "StdinNull yes",
    "StreamLocalBindUnlink yes",
    "StrictHostKeyChecking no",
    "TCPKeepAlive no",
    "Tunnel yes",
    "UpdateHostKeys yes",
    "User nobody",
    "UserKnownHostsFile /nonexistent",
    "VerifyHostKeyDNS yes",
];

/// Keywords that stay the user's: preferences, what ssh adds up, and what has no effect beside the
/// values of [`KEPT_OUT`]. None of them may break a connection. `PORT` is a port that is in use.
const ALLOWED: &[&str] = &[
    "BatchMode yes",
    "BindInterface nosuch0",
    "CanonicalDomains example.org",
    "CanonicalizeFallbackLocal no",
    "CanonicalizeMaxDots 0",
    "CanonicalizePermittedCNAMEs *:*",
    "CertificateFile /nonexistent-cert.pub",
    "ChallengeResponseAuthentication no",
    "ConnectionAttempts 3",
    "DynamicForward 127.0.0.1:PORT",
    "EnableEscapeCommandline yes",
    "EnableSSHKeysign yes",
    "EscapeChar none",
    "FingerprintHash md5",
    "ForwardX11Timeout 1",
    "ForwardX11Trusted no",
    "GSSAPIClientIdentity x",
    "GSSAPIDelegateCredentials yes",
    "GSSAPIKexAlgorithms gss-gex-sha1-",
    "GSSAPIRenewalForcesRekey yes",
    "GSSAPIServerIdentity x",
    "GSSAPITrustDNS yes",
    "HashKnownHosts yes",
    "HostbasedAcceptedAlgorithms rsa-sha2-512",
    "HostbasedAuthentication yes",
    "HostbasedKeyTypes rsa-sha2-512",
    "IPQoS none",
    "IdentityAgent /nonexistent",
    "IdentityFile /nonexistent",
    "IdentityFile2 /nonexistent",
    "IgnoreUnknown X*",
    "KbdInteractiveAuthentication no",
    "KbdInteractiveDevices none",
    "LocalCommand echo polluted",
    "LocalForward 127.0.0.1:PORT 127.0.0.1:9",
    "LogLevel INFO",
    "LogVerbose none",
    "NumberOfPasswordPrompts 1",
    "ObscureKeystrokeTiming no",
    "PasswordAuthentication no",
    "PermitRemoteOpen none",
    "Protocol 2",
    // The pod's sshd has this one.
    "RemoteForward 2222 127.0.0.1:9",
    "RequiredRSASize 4096",
    "SecurityKeyProvider /nonexistent.so",
    "SendEnv *",
    "ServerAliveCountMax 1",
    "SetEnv LC_ALL=xx_XX HOME=/nonexistent",
    "SkeyAuthentication no",
    "StreamLocalBindMask 0777",
    "SyslogFacility LOCAL0",
    "TISAuthentication no",
    "Tag x",
    "TunnelDevice 1:1",
    "VersionAddendum x",
    "VisualHostKey yes",
    "XAuthLocation /nonexistent",
];

/// Keywords that make up the file.
const STRUCTURE: [&str; 3] = ["host", "include", "match"];

/// Heads of sections that hold for every taskspace.
const HEADS: [&str; 5] =
    ["Host *", "Match all", "Match final all", "Match host 127.0.0.1", "Match exec true user *"];

fn keyword(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_lowercase()
}

/// Returns the keywords that the installed ssh acts upon.
///
/// Its program has them all as strings, some as the ends of longer ones. Which strings are keywords, it
/// says itself.
fn keywords_of_ssh(user: &User) -> BTreeSet<String> {
    let path = succeed(user.command("sh").args(["-c", "command -v ssh"]));
    let program = std::fs::read(path.trim()).unwrap();
    let mut words = BTreeSet::new();
    for text in program.split(|byte| *byte == 0) {
        let is_of_keyword = |byte: &&u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let length = text.iter().rev().take_while(is_of_keyword).count();
        let word = String::from_utf8_lossy(&text[text.len() - length..]);
        words.extend((0..length.saturating_sub(2)).map(|start| word[start..].to_owned()));
    }
    words.retain(|word| !STRUCTURE.contains(&word.as_str()));
    let config = user.path("home/keywords");
    let mut rest: Vec<String> = words.into_iter().collect();
    let mut known = BTreeSet::new();
    while !rest.is_empty() {
        let lines: Vec<String> = rest.iter().map(|word| format!("{word} x\n")).collect();
        std::fs::write(&config, lines.concat()).unwrap();
        let mut ssh = user.command("ssh");
        let output = ssh.args(["-v", "-T", "-G", "-F"]).arg(&config).arg("x").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // What it does not know, or does not act upon. It stops at some values, and goes on after others.
        let inert: BTreeSet<&str> = said
            .lines()
            .filter_map(|line| {
                let unknown = line.split_once("Bad configuration option: ").map(|(_, word)| word);
                unknown.or_else(|| line.split_once(" option \"")?.1.split('"').next())
            })
            .collect();
        let number = |line: &str| {
            let (_, rest) = line.split_once(" line ")?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
        };
        let ended = said.contains("terminating, ") || !said.contains(" line ");
        let read = if ended { rest.len() } else { said.lines().filter_map(number).max().unwrap() };
        known.extend(rest.drain(..read).filter(|word| !inert.contains(word.as_str())));
    }
    known
}

/// Writes a configuration of the user's own with the taskspaces' in it, and returns its path.
fn configure(user: &User, sections: &str) -> PathBuf {
    let path = user.path("home/config");
    let ours = user.ssh_config();
    std::fs::write(&path, format!("Include \"{}\"\n{sections}", ours.display())).unwrap();
    path
}

/// Makes keys of the user's own with certificates, which ssh offers before any other key, and returns
/// the lines that name them.
fn certified_keys(user: &User, number: usize) -> String {
    let keygen = |arguments: &[&str]| {
        succeed(user.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", ""]).args(arguments))
    };
    keygen(&["-f", "authority"]);
    let lines = (0..number).map(|n| {
        let key = user.path("home").join(format!("key{n}"));
        keygen(&["-f", key.to_str().unwrap()]);
        let mut sign = user.command("ssh-keygen");
        sign.args(["-q", "-s", "authority", "-I", "me", "-n", "developer"])
            .arg(format!("key{n}.pub"));
        succeed(&mut sign);
        let key = key.display();
        format!("    IdentityFile {key}\n    CertificateFile {key}-cert.pub\n")
    });
    lines.collect()
}

#[test]
fn no_keyword_of_the_users_configuration_breaks_a_taskspace() {
    let user = with_taskspace("kw");
    let known = keywords_of_ssh(&user);
    assert!(known.contains("proxyjump") && known.len() > 90, "{known:?}");
    let listed: BTreeSet<String> =
        KEPT_OUT.iter().chain(ALLOWED).map(|line| keyword(line)).collect();
    let new: Vec<_> = known.difference(&listed).collect();
    assert!(new.is_empty(), "add to KEPT_OUT (and templates/ssh_config) or to ALLOWED: {new:?}");

    let resolved = |config: &Path| {
        succeed(user.command("ssh").args(["-T", "-G", "-F"]).arg(config).arg("kw-dev"))
    };
    let ours = resolved(&user.ssh_config());
    let kept_out = KEPT_OUT.iter().filter(|line| known.contains(&keyword(line)));
    for line in kept_out.clone() {
        let with = resolved(&configure(&user, &format!("Host *\n    {line}\n")));
        assert_eq!(with, ours, "{line} reaches a taskspace");
    }

    // Everything at once, in each kind of section.
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = used.local_addr().unwrap().port().to_string();
    let allowed = ALLOWED.iter().filter(|line| known.contains(&keyword(line)));
    let lines: String = kept_out
        .chain(allowed)
        .map(|line| format!("    {}\n", line.replace("PORT", &port)))
        .collect();
    let keys = certified_keys(&user, 8);
    for head in HEADS {
        let config = configure(&user, &format!("{head}\n{lines}{keys}"));
        for (host, name) in [("kw-dev", "developer"), ("kw-agent", "agent")] {
            let mut ssh = user.command("ssh");
            ssh.arg("-F").arg(&config).args([host, "printf 'a\\n'; id -un >&2; echo $HOME >&2"]);
            let output = ssh.output().unwrap();
            assert!(output.status.success(), "{head}: {}", text_of(&output));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "a\n", "{head}");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains(&format!("{name}\n/home/{name}\n")), "{head}: {errors}");
        }
        // The agent's host key is not for the name of the dev container.
        let agents_port = user.json(&["show", "kw"])["agent_port"].to_string();
        let mut ssh = user.command("ssh");
        ssh.arg("-F").arg(&config).args(["-p", &agents_port, "kw-dev", "true"]);
        let refused = text_of(&ssh.output().unwrap());
        assert!(refused.contains("Host key verification failed"), "{head}: {refused}");
    }
}

#[test]
fn installing_the_configuration_warns_of_forwardings_of_every_host() {
    let user = User::new();
    let ssh = user.path("home/.ssh");
    std::fs::create_dir(&ssh).unwrap();
    std::fs::write(ssh.join("config"), "Host *\n    LocalForward 7777 localhost:7778\n").unwrap();
    user.run(&["list"]);
    let output = user.taskspace(&["ssh-config", "--install"]).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success() && text.contains("localforward 7777"), "{text}");
    assert!(text.contains("`Host * !*-dev !*-agent`"), "{text}");
    user.run(&["ssh-config", "--uninstall"]);
    std::fs::write(ssh.join("config"), "Host * !*-dev\n    ForwardAgent yes\n").unwrap();
    let output = user.taskspace(&["ssh-config", "--install"]).output().unwrap();
    assert!(!text_of(&output).contains("warning"), "{}", text_of(&output));
}
