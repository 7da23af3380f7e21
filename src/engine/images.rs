//! The containers' images: built on first need, and again only when what they are built from has
//! changed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, PoisonError};

use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use super::problems;
use super::settings::LiveSettings;
use crate::model::{Code, ImageRef, ImageState, ImageView, Problem};
use crate::plan::capability::Capabilities;
use crate::plan::names::{self, Labels};
use crate::plan::pod::user_namespace;
use crate::podman::{
    self, BuildSpec, ContainerSpec, ErrorKind, Image, PodSpec, Podman, PullPolicy,
};
use crate::render::{self, ContextFile, ImageInputs};

/// How many lines of a failed build are told.
const LAST_LINES: usize = 25;

/// Where systems keep the certificate authorities that they trust, the first that exists is taken:
/// Debian and its like, Fedora and its like, openSUSE, Alpine.
const CA_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Builds images; one build of an image at a time.
#[derive(Debug)]
pub(crate) struct Images {
    settings: Arc<LiveSettings>,
    registry: Uuid,
    building: Mutex<HashMap<ImageRef, Arc<Mutex<()>>>>,
    /// Done once what an interrupted preparation left is removed.
    swept: OnceCell<()>,
    /// The pods with which images are being prepared.
    warming: std::sync::Mutex<BTreeSet<String>>,
}

/// What an image would be built from now.
struct Recipe {
    files: Vec<ContextFile>,
    digest: String,
}

impl Images {
    pub(crate) fn new(settings: Arc<LiveSettings>, registry: Uuid) -> Self {
        let (building, swept) = (Mutex::default(), OnceCell::new());
        Self { settings, registry, building, swept, warming: std::sync::Mutex::default() }
    }

    /// Builds an image, and what it stands on, unless it is there and current. `output` gets the
    /// lines of the build.
    ///
    /// # Errors
    /// [`Code::ImageBuildFailed`] with the last lines of the build.
    pub(crate) async fn ensure(
        &self,
        podman: &Podman,
        image: ImageRef,
        force: bool,
        output: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(), Problem> {
        if let Some(parent) = image.parent() {
            Box::pin(self.ensure(podman, parent, false, output)).await?;
        }
        let lock = self.building.lock().await.entry(image).or_default().clone();
        let _one_at_a_time = lock.lock().await;

        let base = self.base_of(image);
        let base_id = match found(podman.inspect_image(&base).await)? {
            Some(base) => base.id,
            None => pull(podman, image, &base, output).await?,
        };
        let recipe = self.recipe(image, &base, &base_id).await?;
        let before = found(podman.inspect_image(&image.full_name()).await)?;
        if !force && before.as_ref().is_some_and(|image| is_from(image, &recipe)) {
            return Ok(());
        }
        output(format!("building {}", image.full_name()));
        self.build(podman, image, &recipe, output).await?;
        output(format!("preparing {} for the user's namespace", image.full_name()));
        self.warm(podman, image).await?;
        if let Some(before) = before {
            // What still runs on it keeps it; it goes with the next build.
            podman.remove_image(&before.id, false).await.ok();
        }
        Ok(())
    }

    /// Tells how the images are.
    pub(crate) async fn view(&self, podman: &Podman) -> Result<Vec<ImageView>, Problem> {
        let mut views = Vec::new();
        for image in ImageRef::ALL {
            let base = self.base_of(image);
            let base_id = found(podman.inspect_image(&base).await)?.map(|image| image.id);
            let built = found(podman.inspect_image(&image.full_name()).await)?;
            let state = match (&built, base_id) {
                (None, _) => ImageState::Missing,
                (Some(_), None) => ImageState::Outdated,
                (Some(built), Some(base_id)) => {
                    let current = is_from(built, &self.recipe(image, &base, &base_id).await?);
                    if current { ImageState::Current } else { ImageState::Outdated }
                }
            };
            views.push(ImageView {
                name: image.short_name(),
                reference: image.full_name(),
                base,
                state,
                size: built.as_ref().map(|built| built.size),
                created: built.and_then(|built| built.created),
            });
        }
        Ok(views)
    }

    fn base_of(&self, image: ImageRef) -> String {
        image.parent().map_or_else(|| self.settings.get().images.base.clone(), ImageRef::full_name)
    }

    async fn recipe(&self, image: ImageRef, base: &str, base_id: &str) -> Result<Recipe, Problem> {
        let settings = self.settings.get();
        let images = &settings.images;
        let ca_bundle = match images.trust_host_ca {
            true => read_ca_bundle(images.ca_bundle.as_deref()).await?,
            false => None,
        };
        let settings = images.of(image);
        let inputs = ImageInputs {
            image,
            base,
            packages: &settings.packages,
            install: &settings.install,
            ca_bundle: ca_bundle.as_deref(),
        };
        let files = render::image_context(&inputs).map_err(problems::internal)?;
        let mut hash = Sha256::new();
        hash.update(base_id);
        for file in &files {
            hash.update(file.name.as_bytes());
            hash.update([0]);
            hash.update(u64::try_from(file.content.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(file.content.as_bytes());
        }
        let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Recipe { files, digest })
    }

    async fn build(
        &self,
        podman: &Podman,
        image: ImageRef,
        recipe: &Recipe,
        output: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(), Problem> {
        let labels = Labels::from([
            (names::BUILD_LABEL.to_owned(), recipe.digest.clone()),
            (names::ROLE_LABEL.to_owned(), "image".to_owned()),
        ]);
        let spec = BuildSpec {
            context: tar_of(&recipe.files).map_err(problems::internal)?.into(),
            tags: vec![image.full_name()],
            labels,
            // Cached layers would stay behind as images without a name, after a failure for good.
            layers: false,
            pull: PullPolicy::Never,
            ..BuildSpec::default()
        };
        let mut last = VecDeque::new();
        let mut lines = pin!(podman.build_image(spec));
        while let Some(line) = lines.next().await {
            match line {
                Ok(line) => {
                    if last.len() == LAST_LINES {
                        last.pop_front();
                    }
                    last.push_back(line.clone());
                    output(line);
                }
                Err(error) => {
                    let name = image.short_name();
                    return Err(Problem::new(
                        Code::ImageBuildFailed,
                        format!("the image {name} could not be built: {error}"),
                    )
                    .log(last.into())
                    .hint(format!(
                        "`taskspace images build {name}` shows the whole build; packages and \
                         base are set in images.yaml"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Makes and removes a container of the image in the user namespace that taskspaces have: the
    /// first one copies the image with new owners, which takes seconds.
    async fn warm(&self, podman: &Podman, image: ImageRef) -> Result<(), Problem> {
        let registry = self.registry.to_string();
        self.swept.get_or_try_init(|| sweep(podman, &registry)).await?;
        let name = format!("taskspace-warm-{}", Uuid::new_v4().simple());
        let labels = Labels::from([
            (names::ROLE_LABEL.to_owned(), names::WARM.to_owned()),
            (names::REGISTRY_LABEL.to_owned(), registry),
        ]);
        let info = podman.info().await.map_err(problems::podman)?;
        let capabilities =
            Capabilities::new(&info).map_err(|error| problems::unsuitable(&error))?;
        let pod = PodSpec {
            name: name.clone(),
            userns: Some(user_namespace(&capabilities)),
            labels: labels.clone(),
            ..PodSpec::default()
        };
        let container = ContainerSpec {
            name: format!("{name}-container"),
            image: image.full_name(),
            pod: Some(name.clone()),
            labels,
            ..ContainerSpec::default()
        };
        self.warming().insert(name.clone());
        let warmed = make_and_remove(podman, &pod, &container).await;
        self.warming().remove(&name);
        warmed
    }

    /// Returns the pods with which images are being prepared.
    pub(crate) fn warming(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.warming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn make_and_remove(
    podman: &Podman,
    pod: &PodSpec,
    container: &ContainerSpec,
) -> Result<(), Problem> {
    podman.create_pod(pod).await.map_err(problems::podman)?;
    let made = podman.create_container(container).await;
    let removed = podman.remove_pod(&pod.name, true, 0).await;
    made.map_err(problems::podman)?;
    removed.map_err(problems::podman)
}

/// Removes the pods that an interrupted preparation of an image left.
async fn sweep(podman: &Podman, registry: &str) -> Result<(), Problem> {
    let labels = [(names::ROLE_LABEL, names::WARM), (names::REGISTRY_LABEL, registry)];
    for pod in podman.pods(&labels).await.map_err(problems::podman)? {
        podman.remove_pod(&pod.name, true, 0).await.map_err(problems::podman)?;
    }
    Ok(())
}

fn is_from(image: &Image, recipe: &Recipe) -> bool {
    image.labels.get(names::BUILD_LABEL) == Some(&recipe.digest)
}

fn found<T>(result: podman::Result<T>) -> Result<Option<T>, Problem> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(problems::podman(error)),
    }
}

/// Pulls a base image and returns its id.
async fn pull(
    podman: &Podman,
    image: ImageRef,
    base: &str,
    output: &(dyn Fn(String) + Send + Sync),
) -> Result<String, Problem> {
    output(format!("pulling {base}"));
    let failed = |reason: String| {
        Problem::new(
            Code::ImageBuildFailed,
            format!(
                "the image {} needs {base}, which cannot be pulled: {reason}",
                image.short_name()
            ),
        )
        .hint(
            "bring it in with `podman pull` or `podman load`, or set another `base` in images.yaml",
        )
    };
    let mut lines = pin!(podman.pull_image(base));
    while let Some(line) = lines.next().await {
        output(line.map_err(|error| failed(error.to_string()))?);
    }
    match found(podman.inspect_image(base).await)? {
        Some(image) => Ok(image.id),
        None => Err(failed("it is not there after the pull".to_owned())),
    }
}

async fn read_ca_bundle(configured: Option<&Path>) -> Result<Option<String>, Problem> {
    let candidates: Vec<PathBuf> = match configured {
        Some(path) => vec![path.to_owned()],
        None => CA_BUNDLES.iter().map(PathBuf::from).collect(),
    };
    for path in candidates {
        match tokio::fs::read_to_string(&path).await {
            Ok(bundle) => return Ok(Some(bundle)),
            Err(_) if configured.is_none() => {}
            Err(error) => {
                let detail = format!("cannot read `ca_bundle` {}: {error}", path.display());
                return Err(Problem::new(Code::SettingsInvalid, detail)
                    .hint("correct it in images.yaml, or leave it out"));
            }
        }
    }
    Ok(None)
}

/// Packs a build context.
fn tar_of(files: &[ContextFile]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len().try_into().unwrap_or(u64::MAX));
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, &file.name, file.content.as_bytes())?;
    }
    builder.into_inner()
}
