//! Containers with nothing of what the user's Podman has for all containers.

use super::{problems, verify};
use crate::model::{Code, Problem};
use crate::plan::isolation;
use crate::podman::{Container, ContainerSpec, Podman, RuntimeSpec};

/// Returns a specification with all variables of the container, those of its image among them: Podman is
/// told to give it no others.
pub(super) async fn with_environment(
    podman: &Podman,
    spec: &ContainerSpec,
) -> Result<ContainerSpec, Problem> {
    let image = podman.inspect_image(&spec.image).await.map_err(|error| {
        if !error.is_not_found() {
            return problems::podman(error);
        }
        Problem::new(Code::StateConflict, format!("its image is gone: {error}"))
            .hint("`taskspace images build` builds it")
    })?;
    let env = isolation::environment(&image.config.env, &spec.env);
    Ok(ContainerSpec { env, ..spec.clone() })
}

/// Makes sure that a container that was just made has the variables that were asked for, and no others.
pub(super) async fn check_environment(
    podman: &Podman,
    spec: &ContainerSpec,
) -> Result<(), Problem> {
    let made = podman.inspect_container(&spec.name).await.map_err(problems::podman)?;
    verify::environment(&spec.env, &made.env)
}

/// Makes sure that a container that is prepared to be started gets nothing of the host that was not asked
/// for.
pub(super) async fn check_prepared(podman: &Podman, name: &str) -> Result<(), Problem> {
    let made = podman.inspect_container(name).await.map_err(problems::podman)?;
    let given = runtime_spec(&made).await.map_err(|reason| {
        let path = made.runtime_spec.display();
        let detail =
            format!("what Podman has the OCI runtime make is not known ({path}): {reason}");
        Problem::new(Code::PolicyUnenforceable, detail)
    })?;
    verify::runtime(&made, &given)
}

async fn runtime_spec(made: &Container) -> Result<RuntimeSpec, String> {
    let text = tokio::fs::read(&made.runtime_spec).await.map_err(|error| error.to_string())?;
    RuntimeSpec::parse(&text).map_err(|error| error.to_string())
}
