//! The engine on a fake Podman: what the real one does not show on command.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::model::{Code, Desired, EventBody, Record, Role, Status};
use crate::plan::names;
use crate::uds::fake_podman::{Answer, FakePodman, Seen};

/// Far longer than anything here takes; what does not happen by then never does.
const LONG: Duration = Duration::from_secs(60);

/// A Podman with one taskspace, whose dev container the kernel has killed for want of memory.
fn out_of_memory(id: &TaskspaceId, registry: uuid::Uuid, seen: &Seen) -> Answer {
    let labels = |role: &str| {
        json!({
            names::REGISTRY_LABEL: registry.to_string(),
            names::TASKSPACE_LABEL: id.as_str(),
            names::ROLE_LABEL: role,
        })
    };
    let listed = |name: &str, role: &str, state: &str| {
        json!({
            "Id": name, "Names": [name], "State": state, "IsInfra": role == "pod",
            "PodName": names::pod(id), "Labels": labels(role),
        })
    };
    let dev = names::container(id, Role::Dev);
    let agent = names::container(id, Role::Agent);
    let inspected = |name: &str, state: Value| json!({"Id": name, "Name": name, "State": state});
    let path = seen.path.trim_start_matches("/v5.0.0/libpod").split('?').next().unwrap();
    let reply = match path {
        "/info" => json!({
            "host": {"security": {"rootless": true}},
            "store": {"graphRoot": "/g", "volumePath": "/g/volumes"},
            "version": {"Version": "5.4.2"},
        }),
        "/containers/json" => json!([
            listed("infra", "pod", "running"),
            listed(&agent, "agent", "running"),
            listed(&dev, "dev", "exited"),
        ]),
        "/volumes/json" => json!([
            {"Name": names::changes_volume(id)}, {"Name": "taskspace-example-agent-state"},
        ]),
        _ if path.ends_with(&format!("/volumes/{}/json", names::changes_volume(id))) => {
            json!({"Name": names::changes_volume(id)})
        }
        _ if path.starts_with("/volumes/") => json!({"Name": "taskspace-example-agent-state"}),
        _ if path == format!("/containers/{dev}/json") => inspected(
            &dev,
            json!({
                "Status": "exited", "Running": false, "ExitCode": 137, "OOMKilled": true,
                "FinishedAt": "2026-01-02T03:04:05Z",
            }),
        ),
        _ if path == format!("/containers/{agent}/json") => {
            inspected(&agent, json!({"Status": "running", "Running": true}))
        }
        _ => return Answer::error(404, "no such thing", "no such thing"),
    };
    Answer::json(200, reply)
}

/// An engine that recovers nothing by itself, with one taskspace in its registry, on a fake Podman.
async fn engine(
    home: &Path,
    id: &TaskspaceId,
    record: Record,
    answer: impl Fn(&TaskspaceId, uuid::Uuid, &Seen) -> Answer + Send + 'static,
) -> (Engine, FakePodman) {
    let lookup = |name: &str| (name == "HOME").then(|| home.into());
    let mut paths = Paths::new(lookup, 1000).unwrap();
    let registry = Registry::open(paths.registry.clone()).unwrap();
    let own = id.clone();
    let entered = registry.update(move |document| {
        document.taskspaces.insert(own, record.into());
        Ok::<_, ()>(document.registry)
    });
    let label = entered.await.unwrap().unwrap();
    let asked = id.clone();
    let fake = FakePodman::always(move |seen| answer(&asked, label, seen));
    paths.container_host = Some(format!("unix://{}", fake.socket().display()));
    let mut settings = Settings::load(&[]).unwrap();
    settings.restart.limit = 0;
    (Engine::open(paths, settings).await.unwrap(), fake)
}

#[tokio::test]
async fn what_has_failed_can_turn_out_to_be_lost() {
    let home = tempfile::tempdir().unwrap();
    let id: TaskspaceId = "example".parse().unwrap();
    // A stop that Podman did not answer; meanwhile somebody removed the volume with the work.
    let record = Record {
        status: Status::Failed,
        desired: Desired::Stopped,
        failure: Some(Problem::new(Code::PodmanUnavailable, "gone")),
        ..Record::example()
    };
    let without_work = |id: &TaskspaceId, registry, seen: &Seen| match &seen.path {
        path if path.contains(&names::changes_volume(id)) => {
            Answer::error(404, "no such volume", "no such volume")
        }
        path if path.contains("/volumes/json") => {
            Answer::json(200, json!([{"Name": "taskspace-example-agent-state"}]))
        }
        _ => out_of_memory(id, registry, seen),
    };
    let (engine, _fake) = engine(home.path(), &id, record, without_work).await;
    let told = async {
        loop {
            let failure = engine.show(&id).await.unwrap().recorded.record.failure.unwrap();
            if failure.code == Code::StateConflict {
                assert!(failure.detail.contains("'taskspace-example-changes' is gone"));
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, told).await.expect("the loss is told");
    engine.close();
}

#[tokio::test]
async fn a_container_that_ran_out_of_memory_is_told() {
    let home = tempfile::tempdir().unwrap();
    let id: TaskspaceId = "example".parse().unwrap();
    let (engine, _fake) = engine(home.path(), &id, Record::example(), out_of_memory).await;

    let events = engine.events(Some(0));
    let ended = events.filter_map(|event| {
        let ended = match event.body {
            EventBody::ContainerEnded(ending) => Some(ending),
            _ => None,
        };
        std::future::ready(ended)
    });
    let ending = timeout(LONG, Box::pin(ended).next()).await.unwrap().unwrap();
    assert_eq!((ending.role, ending.exit_code, ending.oom_killed), (Role::Dev, 137, true));
    let failed = engine.events(Some(0)).filter(|event| {
        let to = Some(Status::Failed);
        let is_it = matches!(&event.body, EventBody::StatusChanged { to: now, .. } if *now == to);
        std::future::ready(is_it)
    });
    timeout(LONG, Box::pin(failed).next()).await.unwrap().unwrap();
    let shown = engine.show(&id).await.unwrap();
    assert_eq!(shown.recorded.record.endings, [ending]);
    let failure = shown.recorded.record.failure.unwrap();
    assert!(failure.detail.starts_with("the dev container does not run"), "{}", failure.detail);
    let dev = shown.containers.iter().find(|container| container.role == Role::Dev).unwrap();
    assert!(dev.oom_killed);
    engine.close();
}
