//! The document that describes the API, generated from the handlers.

mod problems;

use utoipa::OpenApi;

use self::problems::Problems;
use super::{
    collection, containers, diff, events, exec, images, limits, networks, operations, ports,
    projects, snapshots, streams, system, taskspaces,
};
use crate::model::{Event, ExecRequest, Problem, Registration};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "taskspace",
        description = "Rootless Podman taskspaces. Served on a Unix socket, to its owner only. \
            What changes something answers 202 with an operation, or with `?wait=true` once it \
            is over. Every error is an RFC 9457 problem document with a stable `code`. \
            The header `Taskspace-Warning` of an answer tells that files of settings are wrong, and that \
            those read before are in force.",
    ),
    paths(
        system::version, system::liveness, system::status, system::reload, system::metrics, system::openapi,
        taskspaces::list, taskspaces::create, taskspaces::show, taskspaces::health,
        taskspaces::delete, taskspaces::fork, limits::resize, networks::show, networks::change, networks::replace, networks::blocked,
        ports::list, ports::publish, ports::close,
        taskspaces::start, taskspaces::stop, taskspaces::restart,
        snapshots::list, snapshots::take, snapshots::restore, snapshots::delete,
        streams::logs, diff::diff, exec::exec,
        operations::list, operations::request, operations::show, operations::update,
        operations::cancel, operations::hold, operations::locks,
        events::events,
        containers::list, containers::register, containers::show, containers::forget,
        projects::list, projects::promote, projects::withdraw, projects::refresh,
        collection::states, collection::state, collection::purge, collection::collect,
        images::list, images::build,
    ),
    components(schemas(Event, ExecRequest, Problem, Registration)),
    modifiers(&Problems),
    tags(
        (name = "taskspaces", description = "Make, watch, use and remove taskspaces"),
        (name = "operations", description = "What is being done"),
        (name = "containers", description = "Containers and services outside of taskspaces"),
        (name = "projects", description = "What taskspaces are made of, and what they share"),
        (name = "retention", description = "What is out of use, and for how long it is kept"),
        (name = "images", description = "What taskspaces run"),
        (name = "system", description = "The service itself"),
    ),
)]
struct Api;

/// Returns the document.
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_checked_in_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let generated = format!("{}\n", document().to_pretty_json().unwrap());
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            generated == checked_in,
            "openapi.json is not what the code says; run `cargo run -- openapi > openapi.json`"
        );
    }

    /// Returns the operations of the document, with their method and path.
    fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
        document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .iter()
                .map(move |(method, it)| (format!("{method} {path}"), it))
        })
    }

    #[test]
    fn each_response_is_described_and_each_error_is_a_problem_document() {
        let document = serde_json::to_value(document()).unwrap();
        for (name, operation) in operations(&document) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert_ne!(
                    response["description"].as_str().unwrap_or_default(),
                    "",
                    "{name} {status}"
                );
                if status.starts_with(['4', '5']) {
                    let schema = &response["content"]["application/problem+json"]["schema"];
                    assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{name} {status}");
                }
            }
        }
    }

    #[test]
    fn operation_ids_are_unique_and_operations_document_their_problems() {
        let document = serde_json::to_value(document()).unwrap();
        let mut ids = HashSet::new();
        for (name, operation) in operations(&document) {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        }
        let create = &document["paths"]["/v1/taskspaces"]["post"]["responses"];
        for status in ["400", "403", "404", "409", "413", "415", "429", "500", "503", "507"] {
            assert!(create[status].is_object(), "{status}");
        }
        assert!(document["paths"]["/v1/version"]["get"]["responses"]["500"].is_null());
    }
}
