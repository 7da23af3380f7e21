//! The document that describes the API, generated from the handlers.

use utoipa::OpenApi;

use super::{
    collection, containers, diff, events, exec, images, limits, networks, operations, ports,
    projects, snapshots, streams, system, taskspaces,
};
use crate::model::{Event, ExecRequest};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "taskspace",
        description = "Rootless Podman taskspaces. Served on a Unix socket, to its owner only. \
            What changes something answers 202 with an operation, or with `?wait=true` once it \
            is over. Every error is an RFC 9457 problem document with a stable `code`.",
    ),
    paths(
        system::version, system::status, system::metrics, system::openapi,
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
    components(schemas(Event, ExecRequest)),
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

    #[test]
    fn every_answer_that_is_an_error_is_a_problem() {
        let json = serde_json::to_value(document()).unwrap();
        for (path, methods) in json["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    if status.starts_with(['4', '5']) {
                        let schema = response["content"].as_object().unwrap().values().next();
                        let reference = &schema.unwrap()["schema"]["$ref"];
                        assert_eq!(reference, "#/components/schemas/Problem", "{method} {path}");
                    }
                }
            }
        }
    }
}
