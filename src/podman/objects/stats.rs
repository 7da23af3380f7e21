//! What containers use.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::nullable;

/// What a running container uses at one moment.
///
/// Podman reads it from the container's cgroup, where there is only what the host delegates to the
/// user; the time on the processor is always there.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStats {
    /// The container's id.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// When it was measured, by the host's clock.
    pub taken_at: Timestamp,
    /// The time on the processor since the container was started, in nanoseconds, that of all
    /// processors together.
    pub cpu_nanos: u64,
    /// The mean load since the container was started, in percent of one processor; for the load of
    /// late see [`ContainerStats::cpu_percent_since`].
    pub mean_cpu_percent: f64,
    /// The memory in use, in bytes; nothing where the host does not measure it.
    pub memory_bytes: Option<u64>,
    /// The container's own limit, in bytes, or else the host's memory. The pod's limit is not
    /// looked at.
    pub memory_limit_bytes: Option<u64>,
    /// How many processes and threads there are; nothing where the host does not count them.
    pub pids: Option<u64>,
}

impl ContainerStats {
    /// Returns the mean load since an earlier measurement, in percent of one processor.
    ///
    /// There is none when the earlier one is not earlier, or of another container, or when the
    /// container was started again since: its time begins anew.
    pub fn cpu_percent_since(&self, earlier: &Self) -> Option<f64> {
        let passed = self.taken_at.duration_since(earlier.taken_at).as_secs_f64();
        if self.id != earlier.id || passed <= 0.0 {
            return None;
        }
        let used = Duration::from_nanos(self.cpu_nanos.checked_sub(earlier.cpu_nanos)?);
        Some(used.as_secs_f64() / passed * 100.0)
    }

    /// Reads an entry, which is all zeros for a container that does not run.
    pub(in crate::podman) fn of_running(entry: Entry) -> Option<Self> {
        let taken_at = Timestamp::from_nanosecond(entry.system_nano.into()).ok()?;
        // Nothing that runs uses no memory, or has no process: 0 says that nobody counts.
        let counted = |number: u64| (number > 0).then_some(number);
        (taken_at > Timestamp::UNIX_EPOCH).then(|| Self {
            id: entry.container_id,
            name: entry.name,
            taken_at,
            cpu_nanos: entry.cpu_nano,
            mean_cpu_percent: entry.avg_cpu,
            memory_bytes: counted(entry.mem_usage),
            memory_limit_bytes: counted(entry.mem_limit),
            pids: counted(entry.pids),
        })
    }
}

/// The reply to a question for statistics.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman) struct Measured {
    /// An entry for each container.
    #[serde(deserialize_with = "nullable")]
    pub stats: Vec<Entry>,
}

/// A container among the statistics.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman) struct Entry {
    #[serde(rename = "ContainerID")]
    container_id: String,
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, rename = "AvgCPU", deserialize_with = "nullable")]
    avg_cpu: f64,
    #[serde(default, rename = "CPUNano", deserialize_with = "nullable")]
    cpu_nano: u64,
    #[serde(default, deserialize_with = "nullable")]
    system_nano: u64,
    #[serde(default, deserialize_with = "nullable")]
    mem_usage: u64,
    #[serde(default, deserialize_with = "nullable")]
    mem_limit: u64,
    #[serde(default, rename = "PIDs", deserialize_with = "nullable")]
    pids: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(reply: Value) -> Vec<ContainerStats> {
        let measured: Measured = serde_json::from_value(reply).unwrap();
        measured.stats.into_iter().filter_map(ContainerStats::of_running).collect()
    }

    fn real(nanos: u64, at: u64, memory: u64, pids: u64) -> Value {
        json!({
            "AvgCPU": 99.88, "ContainerID": "207", "Name": "c", "PerCPU": null, "CPU": 99.88,
            "CPUNano": nanos, "CPUSystemNano": 3988, "SystemNano": at, "MemUsage": memory,
            "MemLimit": 25_276_510_208_u64, "MemPerc": 0, "Network": null, "BlockInput": 0,
            "BlockOutput": 0, "PIDs": pids, "UpTime": nanos, "Duration": nanos,
        })
    }

    #[test]
    fn a_real_reply_is_read() {
        let stopped = json!({
            "AvgCPU": 0, "ContainerID": "fde", "Name": "x", "PerCPU": null, "CPU": 0, "CPUNano": 0,
            "CPUSystemNano": 0, "SystemNano": 0, "MemUsage": 0, "MemLimit": 0, "MemPerc": 0,
            "Network": null, "BlockInput": 0, "BlockOutput": 0, "PIDs": 0, "UpTime": 0,
            "Duration": 0,
        });
        let running = real(2_018_177_000, 1_795_244_720_132_922_646, 4096, 2);
        let found = read(json!({"Error": null, "Stats": [stopped, running]}));
        assert_eq!(
            found,
            [ContainerStats {
                id: "207".to_owned(),
                name: "c".to_owned(),
                taken_at: "2026-11-21T07:05:20.132922646Z".parse().unwrap(),
                cpu_nanos: 2_018_177_000,
                mean_cpu_percent: 99.88,
                memory_bytes: Some(4096),
                memory_limit_bytes: Some(25_276_510_208),
                pids: Some(2),
            }]
        );
    }

    #[test]
    fn what_the_host_does_not_measure_is_not_zero() {
        let found = read(json!({"Stats": [real(1, 1_795_244_720_000_000_000, 0, 0)]}));
        assert_eq!((found[0].memory_bytes, found[0].pids), (None, None));
        assert_eq!(read(json!({"Stats": null})), []);
        let bare = json!({"ContainerID": "1", "SystemNano": 1, "MemUsage": null});
        assert_eq!(read(json!({"Stats": [bare]}))[0].cpu_nanos, 0);
        assert!(serde_json::from_value::<Measured>(json!({"hello": "world"})).is_err());
        assert!(serde_json::from_value::<Measured>(json!({"Stats": [{"Name": "c"}]})).is_err());
    }

    #[test]
    fn the_load_is_that_between_two_measurements() {
        let second = 1_000_000_000;
        let at = |nanos, seconds| {
            read(json!({"Stats": [real(nanos, 1_795_244_720 * second + seconds * second, 1, 1)]}))
                .remove(0)
        };
        let first = at(5 * second, 0);
        assert_eq!(at(8 * second, 2).cpu_percent_since(&first), Some(150.0));
        assert_eq!(at(5 * second, 2).cpu_percent_since(&first), Some(0.0));
        // Started again, measured at the same moment, and another container.
        assert_eq!(at(second, 2).cpu_percent_since(&first), None);
        assert_eq!(at(6 * second, 0).cpu_percent_since(&first), None);
        let other = ContainerStats { id: "1".to_owned(), ..at(8 * second, 2) };
        assert_eq!(other.cpu_percent_since(&first), None);
    }
}
