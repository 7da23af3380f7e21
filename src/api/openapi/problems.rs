//! The problems that an operation of the API can answer with, by what it takes and does.

use utoipa::Modify;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response};

use crate::api::problem::PROBLEM_JSON;

/// The schema of every problem document.
const PROBLEM: &str = "#/components/schemas/Problem";

/// The path of the calls that need no engine, and so cannot fail for lack of one.
const INDEPENDENT: [&str; 3] = ["/v1/version", "/v1/liveness", "/v1/openapi.json"];

/// Adds the problems that follow from what an operation takes and does to those that its handler names,
/// and gives all of them their media type (RFC 9457, section 3).
pub(super) struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            let is_independent = INDEPENDENT.contains(&path.as_str());
            for operation in operations(item) {
                let statuses = if is_independent { Vec::new() } else { statuses(operation) };
                let responses = &mut operation.responses.responses;
                for (status, description) in statuses {
                    let named = responses.entry(status.to_owned());
                    named.or_insert_with(|| problem(description).into());
                }
                responses.values_mut().for_each(give_media_type);
            }
        }
    }
}

/// Returns the operations of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// Returns the statuses of the problems that follow from what an operation takes and does.
fn statuses(operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let is_in_path = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Path);
    let names_something = parameters.iter().any(is_in_path);
    let takes_body = operation.request_body.is_some();
    let starts_operation = operation.responses.responses.contains_key("202");
    let asks_podman = starts_operation || !parameters.is_empty() || takes_body;
    let table = [
        ("400", "The request is wrong", takes_body || !parameters.is_empty()),
        ("403", "A policy or a limit does not allow it", starts_operation),
        ("404", "There is nothing of that name", names_something || starts_operation),
        ("409", "Its state, or another operation, does not allow it", starts_operation),
        ("413", "The body is too long", takes_body),
        ("415", "The body is of another media type than JSON", takes_body),
        ("429", "Too many operations wait", starts_operation),
        ("500", "The service cannot work: its registry or its settings are wrong", true),
        ("502", "Podman refused or failed", asks_podman),
        ("503", "Podman does not answer, or the service is about to end", true),
        ("504", "It was not ready in time", asks_podman),
        ("507", "The disk lacks room", asks_podman),
    ];
    table.into_iter().filter(|row| row.2).map(|(status, text, _)| (status, text)).collect()
}

fn problem(description: &str) -> Response {
    let content = Content::new(Some(RefOr::Ref(Ref::new(PROBLEM))));
    let mut response = Response::new(description);
    response.content.insert(PROBLEM_JSON.to_owned(), content.into());
    response
}

/// Gives a response its media type if it is a problem.
fn give_media_type(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let is_problem = response.content.values().any(|content| match content {
        RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) => {
            schema.ref_location == PROBLEM
        }
        _ => false,
    });
    if is_problem && let Some((_, content)) = response.content.pop() {
        response.content.insert(PROBLEM_JSON.to_owned(), content);
    }
}
