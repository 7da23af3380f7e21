//! What clients ask for about registered containers.

use std::collections::BTreeMap;

use super::super::{Engine, problems};
use super::merge::Merged;
use crate::model::{
    Code, ContainerName, MAX_REGISTERED, Problem, RegisterRequest, RegisteredContainer,
    Registration, Source,
};

impl Engine {
    /// Returns every registered container, by name.
    pub async fn registered(&self) -> Vec<RegisteredContainer> {
        self.inner.know_containers().await;
        self.inner.containers.all()
    }

    /// Returns a registered container.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn registered_one(
        &self,
        name: &ContainerName,
    ) -> Result<RegisteredContainer, Problem> {
        self.inner.know_containers().await;
        self.inner.containers.lock().one(name).ok_or_else(|| unknown(name))
    }

    /// Registers containers, all of them or none; returns how they are.
    ///
    /// # Errors
    /// When one of them cannot be registered, or their dependencies would make a circle with what is
    /// registered already.
    pub async fn register(
        &self,
        request: RegisterRequest,
    ) -> Result<Vec<RegisteredContainer>, Problem> {
        let request =
            request.checked().map_err(|reason| Problem::new(Code::MessageFormatInvalid, reason))?;
        // What is registered by labels takes part in circles.
        self.inner.know_containers().await;
        let names: Vec<ContainerName> = request.containers.keys().cloned().collect();
        let merged = self.inner.containers.lock().merged().clone();
        let entered = self.inner.registry.update(move |document| {
            let registered = &mut document.coordination.containers;
            check(registered, &merged, &request.containers)?;
            registered.extend(request.containers);
            Ok::<(), Problem>(())
        });
        entered.await.map_err(problems::registry)??;
        self.inner.take_registered().await?;
        self.inner.look_now().await;
        let known = self.inner.containers.lock();
        Ok(names.iter().filter_map(|name| known.one(name)).collect())
    }

    /// Forgets a container that was registered by a call, whether others depend on it or not; returns
    /// how it was.
    ///
    /// # Errors
    /// When there is none of this name, or it was registered otherwise.
    pub async fn forget(&self, name: &ContainerName) -> Result<RegisteredContainer, Problem> {
        self.inner.know_containers().await;
        let before = self.inner.containers.lock().one(name).ok_or_else(|| unknown(name))?;
        let removed = name.clone();
        let removed = self.inner.registry.update(move |document| {
            Ok::<_, Problem>(document.coordination.containers.remove(&removed))
        });
        if removed.await.map_err(problems::registry)??.is_none() {
            return Err(not_by_call(&before));
        }
        self.inner.take_registered().await?;
        Ok(before)
    }
}

/// Checks that what is asked for can be registered beside what is.
fn check(
    registered: &BTreeMap<ContainerName, Registration>,
    merged: &Merged,
    asked: &BTreeMap<ContainerName, Registration>,
) -> Result<(), Problem> {
    let mut all = registered.clone();
    all.extend(asked.clone());
    if all.len() > MAX_REGISTERED {
        return Err(Problem::new(
            Code::MessageFormatInvalid,
            format!(
                "{} containers would be registered, and {MAX_REGISTERED} at most can be",
                all.len()
            ),
        )
        .hint("forget some with `taskspace containers forget`"));
    }
    if let Some((first, second)) = Merged::same_container(all.iter()) {
        return Err(Problem::new(
            Code::StateConflict,
            format!("'{first}' and '{second}' would be names of the same container"),
        )
        .hint("whoever acts on a container must find whoever else does: use one name"));
    }
    merged.check_with(all.iter()).map_err(|circle| {
        Problem::new(Code::DependencyCycle, format!("the dependencies would be a circle: {circle}"))
            .hint("leave out one of these dependencies; nothing was registered")
    })
}

fn unknown(name: &ContainerName) -> Problem {
    Problem::new(Code::NotFound, format!("no container is registered as '{name}'"))
        .hint("`taskspace containers` lists those that are")
}

fn not_by_call(container: &RegisteredContainer) -> Problem {
    let RegisteredContainer { name, container, source, .. } = container;
    let (whence, hint) = match source {
        Source::Api => return unknown(name),
        Source::Settings => {
            ("the settings".to_owned(), "take it out of coordination.yaml".to_owned())
        }
        Source::Label => {
            let container = container.as_ref().unwrap_or(name);
            let hint = "remove that container, or make it anew without its label \
                        io.symposium.coordinate";
            (format!("the labels of the container '{container}'"), hint.to_owned())
        }
    };
    let detail = format!("'{name}' is registered by {whence}, and cannot be forgotten by a call");
    Problem::new(Code::StateConflict, detail).hint(hint)
}
