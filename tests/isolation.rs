//! What a taskspace has of its host: nothing that was not asked for, whatever the user's Podman does for all
//! containers, and what common programs need.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::common::own_podman::{MARK, OwnPodman};
use crate::common::repository::Repository;
use crate::common::{User, is_deep, succeed};

const CONTAINERS: [&str; 2] = ["agent", "dev"];

/// What no container may have seen of.
const CANARY: &str = "canary";

/// Settings that are said otherwise for each pod and container: none has an effect. `@` is a directory of the
/// test.
const OVERRIDDEN: &str = r#"
[containers]
annotations = ["canary=1"]
base_hosts_file = "@/hosts"
cgroupns = "host"
cgroups = "enabled"
container_name_as_hostname = true
default_capabilities = ["CHOWN", "NET_RAW", "SYS_ADMIN"]
default_sysctls = ["net.ipv4.ping_group_range=0 0"]
default_ulimits = ["nofile=99:99", "core=7:7"]
dns_options = ["canary"]
dns_searches = ["canary.example"]
dns_servers = ["192.0.2.53"]
env = ["CANARY=canary"]
env_host = true
host_containers_internal_ip = "192.0.2.80"
http_proxy = true
init = false
ipcns = "host"
log_driver = "none"
log_tag = "canary"
netns = "host"
no_hosts = true
pidns = "host"
prepare_volume_on_create = true
privileged = true
read_only = true
shm_size = "1m"
tz = "Pacific/Chatham"
umask = "0077"
userns = "host"
utsns = "host"

[engine]
image_volume_mode = "tmpfs"
pod_exit_policy = "stop"

[network]
default_rootless_network_cmd = "slirp4netns"
pasta_options = ["--map-gw", "--map-guest-addr", "192.0.2.81", "--map-host-loopback", "192.0.2.82"]
"#;

/// Prints what a container may have of the host.
const LOOK: &str = "cat /etc/hosts /etc/resolv.conf; env; hostname; umask; date +%Z; \
    ulimit -Sn; ulimit -c; cat /proc/1/comm; readlink /proc/self/ns/*; \
    grep -E 'CapBnd|Seccomp:' /proc/self/status; touch /tmp/written && echo written";

fn inside(user: &User, id: &str, container: &str, script: &str) -> String {
    user.run(&["exec", "--container", container, id, "--", "bash", "-c", script])
}

#[test]
fn settings_of_podman_for_all_containers_do_not_reach_inside() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    fs::write(place.join("hosts"), "192.0.2.7 canary.example canary\n").unwrap();
    let settings = OVERRIDDEN.replace('@', place.to_str().unwrap());
    let mut podman = OwnPodman::with_settings("", &[("NO_PROXY", format!("{CANARY}.example"))]);
    let user = User::with_podman(&podman.container_host());
    user.settings(
        "settings.yaml",
        "containers: {shm_size: 96Mi, timezone: Asia/Tokyo, environment: {HTTPS_PROXY: 'http://p:1'}}\n",
    );
    let repository = Repository::new(&user, "app");
    let create =
        |id| user.run(&["create", "--network", "isolated", "--project", repository.as_str(), id]);
    create("earlier");
    podman.change_settings(&settings);
    create("alone");
    let namespaces = succeed(user.command("bash").args(["-c", "readlink /proc/self/ns/*"]));
    for container in CONTAINERS {
        let seen = inside(&user, "alone", container, LOOK);
        for trace in [CANARY, MARK, "192.0.2.", "CHAST", "CHADT"] {
            assert!(!seen.contains(trace), "{container} has {trace}:\n{seen}");
        }
        for expected in [
            "HTTPS_PROXY=http://p:1",
            "nameserver 127.0.0.1",
            "127.0.0.1 localhost alone",
            "\nalone\n0022\nJST\n1024\n0\npodman-init\n",
            "Seccomp:\t2",
            "\nwritten\n",
        ] {
            assert!(seen.contains(expected), "{container} lacks {expected}:\n{seen}");
        }
        let shared =
            |namespace: &&str| !namespace.starts_with("time:") && seen.contains(*namespace);
        let shared: Vec<&str> = namespaces.lines().filter(shared).collect();
        assert!(shared.is_empty(), "{container} shares {shared:?}");
        let shm = inside(&user, "alone", container, "df --output=size /dev/shm | tail -n 1");
        assert_eq!(shm.trim(), (96 << 10).to_string());
    }
    let logs = user.run(&["logs", "--container", "dev", "alone"]);
    assert!(logs.contains("Server listening"), "{logs}");
    user.run(&["stop", "alone"]);
    user.run(&["start", "alone"]);
    user.run(&["diff", "alone"]);
    user.run(&["restart", "earlier"]);
    let seen = inside(&user, "earlier", "agent", LOOK);
    assert!(!seen.contains(CANARY) && !seen.contains(MARK), "{seen}");
}

/// Settings that cannot be said otherwise, each with what its refusal names.
fn refused(place: &Path) -> Vec<(&'static str, String, &'static str)> {
    let source = place.join("secret");
    let source = source.display();
    let hooks = place.join("hooks");
    let hooks = hooks.display();
    vec![
        (
            "containers",
            format!("volumes = [\"{source}:/canary\"]"),
            "mounted at /canary (`volumes`",
        ),
        ("engine", format!("hooks_dir = [\"{hooks}\"]"), "a hook in `hooks_dir`"),
        ("network", "pasta_options = [\"-T\", \"auto\"]".to_owned(), "`-T auto` (`pasta_options`"),
        (
            "containers",
            format!("mounts = [\"type=bind,source={source},target=/canary\"]"),
            "mounted at /canary (`volumes`",
        ),
        ("containers", "devices = [\"/dev/fuse\"]".to_owned(), "(`devices`)"),
        ("containers", "seccomp_profile = \"unconfined\"".to_owned(), "`seccomp_profile`"),
        (
            "containers",
            "annotations = [\"run.oci.keep_original_groups=1\"]".to_owned(),
            "annotation run.oci.keep_original_groups",
        ),
        ("network", "pasta_options = [\"--tcp-ns\", \"5432\"]".to_owned(), "`--tcp-ns 5432`"),
    ]
}

/// How many of them are tried when not all are.
const SAMPLE: usize = 4;

#[test]
fn settings_of_podman_that_cannot_be_overridden_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    fs::write(place.join("secret"), CANARY).unwrap();
    fs::create_dir(place.join("hooks")).unwrap();
    let hook = json!({
        "version": "1.0.0", "hook": {"path": "/bin/true"}, "when": {"always": true},
        "stages": ["createRuntime"],
    });
    fs::write(place.join("hooks/hook.json"), hook.to_string()).unwrap();
    let mut podman = OwnPodman::with_settings("", &home_with_mounts_conf(place));
    let user = User::with_podman(&podman.container_host());
    let repository = Repository::new(&user, "app");
    let create = ["create", "--project", repository.as_str(), "refused"];
    let mut cases = refused(place);
    if !is_deep() {
        cases.truncate(SAMPLE);
    }
    let mut refuse = |settings: &str, named: &str| {
        podman.change_settings(settings);
        let error = user.fail(5, &create);
        assert!(error.contains(named), "{settings}: {error}");
        assert!(error.contains("containers.conf"), "{settings}: {error}");
        assert_eq!(user.json(&["list"]), json!([]), "{settings}");
    };
    // The first time without a setting: that is the one of mounts.conf.
    refuse("", "is mounted at /canary (`volumes`, `mounts`, or mounts.conf)");
    fs::write(mounts_conf(place), "").unwrap();
    for (table, setting, named) in cases {
        refuse(&format!("[{table}]\n{setting}\n"), named);
    }
}

/// Makes a home in which Podman finds a mounts.conf, and returns the variables for it.
fn home_with_mounts_conf(place: &Path) -> [(&'static str, String); 2] {
    let path = mounts_conf(place);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::create_dir(place.join("secrets")).unwrap();
    fs::write(place.join("secrets/token"), CANARY).unwrap();
    fs::write(path, format!("{}:/canary\n", place.join("secrets").display())).unwrap();
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let data = std::env::var("XDG_DATA_HOME")
        .unwrap_or_else(|_| home.join(".local/share").display().to_string());
    [("HOME", place.display().to_string()), ("XDG_DATA_HOME", data)]
}

fn mounts_conf(place: &Path) -> PathBuf {
    place.join(".config/containers/mounts.conf")
}

/// Programs that break where a container is too bare, each with what they print; in both containers.
const PROGRAMS: &[(&str, &str)] = &[
    ("ping -c 1 -W 1 127.0.0.1 > /dev/null && echo answered", "answered"),
    ("ping -c 1 -W 1 192.0.2.1 > /dev/null || echo refused", "refused"),
    ("getent hosts \"$(hostname)\" | cut -d' ' -f1", "127.0.0.1"),
    ("getent hosts host.containers.internal || echo unknown", "unknown"),
    ("LC_ALL=en_US.UTF-8 locale charmap 2>&1", "UTF-8"),
    ("TZ=Europe/Berlin date -d @0 +%H; date +%Z", "01\nUTC"),
    ("TERM=unheard-of bash -ic 'echo $TERM' 2> /dev/null", "xterm-256color"),
    (
        "for term in alacritty foot tmux-256color wezterm xterm-ghostty xterm-kitty; do \
         infocmp $term > /dev/null || echo $term; done",
        "",
    ),
    ("stat -c %a $XDG_RUNTIME_DIR; touch $XDG_RUNTIME_DIR/socket && echo mine", "700\nmine"),
    ("tr -d 0-9a-f < /etc/machine-id; wc -c < /etc/machine-id", "33"),
    ("unshare --user --map-root-user --mount --net id -u", "0"),
    ("stat -c %a /tmp /var/tmp /dev/shm | uniq", "1777"),
    ("ulimit -Sn; ulimit -Sc", "1024\n0"),
    (
        "perl -MIO::Socket::INET -e 'for (53, 80) { my $s = IO::Socket::INET->new(LocalAddr => \
         \"127.0.0.9:$_\", Listen => 1); print $s ? \"$_ bound\\n\" : \"$_ $!\\n\" }'",
        "53 Permission denied\n80 bound",
    ),
];

#[test]
fn common_programs_find_what_they_need() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    user.run(&["create", "--network", "isolated", "--project", repository.as_str(), "common"]);
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let memory: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    for container in CONTAINERS {
        for (script, printed) in PROGRAMS {
            let found = inside(&user, "common", container, script);
            assert_eq!(found.trim(), *printed, "{container}: {script}");
        }
        let shm = inside(&user, "common", container, "df --output=size /dev/shm | tail -n 1");
        let shm: u64 = shm.trim().parse().unwrap();
        assert!((memory / 2).abs_diff(shm) <= 64, "{container}: {shm} of {memory} kB");
    }
    let id = |container| inside(&user, "common", container, "cat /etc/machine-id");
    assert_ne!(id("agent"), id("dev"));

    // Names that people add in dev stay; the agent cannot change what it is told.
    let add = "echo 127.0.0.1 app.test | sudo tee -a /etc/hosts && \
               sudo sed -i s/app.test/web.test/ /etc/hosts && su --version > /dev/null && sudo -n id -u";
    assert!(inside(&user, "common", "dev", add).ends_with("\n0\n"));
    assert_eq!(
        inside(&user, "common", "agent", "echo 1 2>&- >> /etc/hosts || echo no").trim(),
        "no"
    );
    user.run(&["restart", "common"]);
    let found = inside(&user, "common", "dev", "getent hosts web.test; ls $XDG_RUNTIME_DIR");
    assert_eq!(found.split_whitespace().collect::<Vec<_>>(), ["127.0.0.1", "web.test"]);

    // A command by ssh has a terminal of a name that the image does not know.
    let mut ssh = user.ssh("common-dev", &["-tt", "echo $TERM; locale charmap"]);
    let ssh = succeed(ssh.env("TERM", "unheard-of").env("LC_ALL", "de_DE.UTF-8"));
    assert_eq!(ssh.split_whitespace().collect::<Vec<_>>(), ["xterm-256color", "UTF-8"]);
}
