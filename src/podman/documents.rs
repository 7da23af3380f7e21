//! The calls whose request and reply are one document each.
//!
//! Starting what runs and stopping what is stopped succeed. Removing what is not there is an error
//! of the kind [`ErrorKind::NotFound`](super::ErrorKind::NotFound): the caller decides.

use serde::de::DeserializeOwned;

use super::Podman;
use super::error::{PodmanError, Result};
use super::objects::{
    Container, ContainerStats, ContainerSummary, Created, Image, Info, Measured, Network, Pod,
    PodSummary, Volume,
};
use super::spec::{ContainerSpec, PodSpec, VolumeSpec};
use super::transport::{filter, image_segment, label_filter, segment};

/// What is waited for, and how often Podman looks.
const ENDED: &str = "condition=stopped&condition=exited&interval=50ms";

impl Podman {
    /// Returns what Podman says of itself and its host.
    pub async fn info(&self) -> Result<Info> {
        self.get("/info".to_owned()).read().await
    }

    /// Makes a volume.
    pub async fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        segment("volume", &spec.name)?;
        self.post("/volumes/create".to_owned()).document(spec).read().await
    }

    /// Returns the volume of this name.
    pub async fn inspect_volume(&self, name: &str) -> Result<Volume> {
        let path = format!("/volumes/{}/json", segment("volume", name)?);
        let request = format!("GET {path}");
        let volume: Volume = self.get(path).read().await?;
        if volume.name == name {
            return Ok(volume);
        }
        Err(PodmanError::Refused {
            request,
            status: 404,
            cause: "no such volume".to_owned(),
            message: format!("no volume is named {name}; the nearest is {}", volume.name),
        })
    }

    /// Returns the volumes that carry all of these labels.
    pub async fn volumes(&self, labels: &[(&str, &str)]) -> Result<Vec<Volume>> {
        self.list(format!("/volumes/json?filters={}", label_filter(labels))).await
    }

    /// Removes the volume of this name, with `force` also the containers that use it.
    ///
    /// Podman takes the name for the beginning of one if no volume has it, and would remove another
    /// volume instead. So it is looked up first, and no other removal from here comes in between.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let _alone = self.volume_removal.lock().await;
        self.inspect_volume(name).await?;
        self.delete(format!("/volumes/{name}?force={force}")).run().await
    }

    /// Makes a pod and returns its id.
    pub async fn create_pod(&self, spec: &PodSpec) -> Result<String> {
        segment("pod", &spec.name)?;
        let created: Created = self.post("/pods/create".to_owned()).document(spec).read().await?;
        Ok(created.id)
    }

    /// Returns a pod, by name or id.
    pub async fn inspect_pod(&self, name: &str) -> Result<Pod> {
        self.get(format!("/pods/{}/json", segment("pod", name)?)).read().await
    }

    /// Returns the pods that carry all of these labels.
    pub async fn pods(&self, labels: &[(&str, &str)]) -> Result<Vec<PodSummary>> {
        self.list(format!("/pods/json?filters={}", label_filter(labels))).await
    }

    /// Stops the containers of a pod, and kills those that have not stopped in time; to Podman, 0
    /// seconds mean each container's own time.
    pub async fn stop_pod(&self, name: &str, timeout_s: u32) -> Result<()> {
        let name = segment("pod", name)?;
        self.post(format!("/pods/{name}/stop?t={timeout_s}")).lasting(timeout_s).run().await
    }

    /// Removes a pod, with `force` also while its containers run, which have this long to stop.
    pub async fn remove_pod(&self, name: &str, force: bool, timeout_s: u32) -> Result<()> {
        let name = segment("pod", name)?;
        self.delete(format!("/pods/{name}?force={force}&timeout={timeout_s}"))
            .lasting(timeout_s)
            .run()
            .await
    }

    /// Makes a container and returns its id.
    pub async fn create_container(&self, spec: &ContainerSpec) -> Result<String> {
        segment("container", &spec.name)?;
        let created: Created =
            self.post("/containers/create".to_owned()).document(spec).read().await?;
        Ok(created.id)
    }

    /// Prepares a container to be started: the OCI runtime makes it, and nothing runs in it yet.
    ///
    /// One that is prepared already is an error.
    pub async fn init_container(&self, name: &str) -> Result<()> {
        self.post(format!("/containers/{}/init", segment("container", name)?)).run().await
    }

    /// Starts a container, by name or id.
    ///
    /// Podman starts the infra container of its pod before, but hides why that failed: start the
    /// infra container first to learn of a port that is taken.
    pub async fn start_container(&self, name: &str) -> Result<()> {
        self.post(format!("/containers/{}/start", segment("container", name)?)).run().await
    }

    /// Stops a container, and kills it if it has not stopped in time.
    pub async fn stop_container(&self, name: &str, timeout_s: u32) -> Result<()> {
        let name = segment("container", name)?;
        self.post(format!("/containers/{name}/stop?timeout={timeout_s}"))
            .lasting(timeout_s)
            .run()
            .await
    }

    /// Pauses a container that runs: none of its processes does anything until it is let go on.
    pub async fn pause_container(&self, name: &str) -> Result<()> {
        self.post(format!("/containers/{}/pause", segment("container", name)?)).run().await
    }

    /// Lets a paused container go on; one that is not paused is an error of the kind
    /// [`ErrorKind::BadState`](super::ErrorKind::BadState) or another one.
    pub async fn unpause_container(&self, name: &str) -> Result<()> {
        self.post(format!("/containers/{}/unpause", segment("container", name)?)).run().await
    }

    /// Waits until a container has ended, however long it takes, and returns its exit code.
    ///
    /// To Podman, one that was never started has ended, with 0.
    pub async fn wait_container(&self, name: &str) -> Result<i64> {
        let name = segment("container", name)?;
        self.post(format!("/containers/{name}/wait?{ENDED}")).endless().read().await
    }

    /// Removes a container and its nameless volumes, with `force` also while it runs.
    pub async fn remove_container(&self, name: &str, force: bool) -> Result<()> {
        let name = segment("container", name)?;
        self.delete(format!("/containers/{name}?force={force}&v=true")).run().await
    }

    /// Returns a container, by name or id.
    pub async fn inspect_container(&self, name: &str) -> Result<Container> {
        self.get(format!("/containers/{}/json", segment("container", name)?)).read().await
    }

    /// Returns the containers that carry all of these labels; those that do not run with `all`.
    pub async fn containers(
        &self,
        labels: &[(&str, &str)],
        all: bool,
    ) -> Result<Vec<ContainerSummary>> {
        let filter = label_filter(labels);
        self.list(format!("/containers/json?all={all}&filters={filter}")).await
    }

    /// Returns the containers that have a volume, those that do not run too.
    pub async fn containers_with(&self, sources: &[&str]) -> Result<Vec<ContainerSummary>> {
        let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
        let filter = filter("volume", &sources);
        self.list(format!("/containers/json?all=true&filters={filter}")).await
    }

    /// Measures containers, by name or id; those that do not run are left out.
    ///
    /// It takes some milliseconds and does not wait between two measurements. One container that
    /// does not exist makes it fail for all. (A pod's own statistics are rounded words to be shown,
    /// and the same measurements one by one.)
    pub async fn stats(&self, containers: &[String]) -> Result<Vec<ContainerStats>> {
        if containers.is_empty() {
            // Podman would measure all there are.
            return Ok(Vec::new());
        }
        let mut path = "/containers/stats?stream=false".to_owned();
        for container in containers {
            path += &format!("&containers={}", segment("container", container)?);
        }
        let measured: Measured = self.get(path).read().await?;
        Ok(measured.stats.into_iter().filter_map(ContainerStats::of_running).collect())
    }

    /// Returns an image, by name or id.
    pub async fn inspect_image(&self, name: &str) -> Result<Image> {
        self.get(format!("/images/{}/json", image_segment(name)?)).read().await
    }

    /// Removes a name of an image, and the image with its last one; with `force` also the
    /// containers that use it.
    pub async fn remove_image(&self, name: &str, force: bool) -> Result<()> {
        self.delete(format!("/images/{}?force={force}", image_segment(name)?)).run().await
    }

    /// Returns the names of the networks.
    pub async fn networks(&self) -> Result<Vec<String>> {
        let networks: Vec<Network> = self.list("/networks/json".to_owned()).await?;
        Ok(networks.into_iter().map(|network| network.name).collect())
    }

    /// Reads a list; some Podmans write an empty one as null.
    async fn list<T: DeserializeOwned>(&self, path: String) -> Result<Vec<T>> {
        let items: Option<Vec<T>> = self.get(path).read().await?;
        Ok(items.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::podman::ErrorKind;
    use crate::uds::fake_podman::{Answer, FakePodman};

    fn podman(answers: impl IntoIterator<Item = Answer>) -> (FakePodman, Podman) {
        let fake = FakePodman::script(answers);
        let podman = Podman::new(fake.socket().to_owned());
        (fake, podman)
    }

    fn heads(fake: &FakePodman) -> Vec<String> {
        fake.requests().iter().map(|seen| seen.head().replace("/v5.0.0/libpod", "")).collect()
    }

    #[tokio::test]
    async fn each_call_asks_for_what_it_says() {
        let fake = FakePodman::always(|seen| match seen.method.as_str() {
            "GET" => Answer::json(200, Value::Null),
            _ => Answer::json(204, Value::Null),
        });
        let podman = Podman::new(fake.socket().to_owned());
        podman.pods(&[("k", "v w")]).await.unwrap();
        podman.containers(&[], true).await.unwrap();
        podman.containers_with(&["v"]).await.unwrap();
        podman.networks().await.unwrap();
        podman.stop_pod("p", 3).await.unwrap();
        podman.remove_pod("p", true, 0).await.unwrap();
        podman.start_container("c").await.unwrap();
        podman.stop_container("c", 7).await.unwrap();
        podman.remove_container("c", false).await.unwrap();
        podman.remove_image("localhost/a@sha256:1f", true).await.unwrap();
        assert_eq!(
            heads(&fake),
            [
                "GET /pods/json?filters=%7B%22label%22%3A%5B%22k%3Dv%20w%22%5D%7D",
                "GET /containers/json?all=true&filters=%7B%22label%22%3A%5B%5D%7D",
                "GET /containers/json?all=true&filters=%7B%22volume%22%3A%5B%22v%22%5D%7D",
                "GET /networks/json",
                "POST /pods/p/stop?t=3",
                "DELETE /pods/p?force=true&timeout=0",
                "POST /containers/c/start",
                "POST /containers/c/stop?timeout=7",
                "DELETE /containers/c?force=false&v=true",
                "DELETE /images/localhost%2Fa%40sha256%3A1f?force=true",
            ]
        );
        assert_eq!(fake.connections(), 1);
        assert_eq!(fake.requests()[0].header("content-type"), Some("application/json"));
    }

    #[tokio::test]
    async fn documents_go_there_and_back() {
        let (fake, podman) = podman([
            Answer::json(201, json!({"Name": "v", "Mountpoint": "/s/v/_data", "Driver": "local"})),
            Answer::json(201, json!({"Id": "p1"})),
            Answer::json(201, json!({"Id": "c1", "Warnings": []})),
        ]);
        let volume = VolumeSpec { name: "v".into(), ..VolumeSpec::default() };
        let made = podman.create_volume(&volume).await.unwrap();
        assert_eq!(made.mountpoint, Path::new("/s/v/_data"));
        let pod = PodSpec { name: "p".into(), ..PodSpec::default() };
        assert_eq!(podman.create_pod(&pod).await.unwrap(), "p1");
        let container = ContainerSpec { name: "c".into(), ..ContainerSpec::default() };
        assert_eq!(podman.create_container(&container).await.unwrap(), "c1");
        assert_eq!(
            heads(&fake),
            ["POST /volumes/create", "POST /pods/create", "POST /containers/create"]
        );
        assert_eq!(fake.requests()[0].json(), json!({"Driver": "local", "Name": "v"}));
    }

    #[tokio::test]
    async fn the_end_of_a_container_is_waited_for() {
        let (fake, podman) = podman([Answer::json(200, json!(137))]);
        assert_eq!(podman.wait_container("c").await.unwrap(), 137);
        assert_eq!(
            heads(&fake),
            ["POST /containers/c/wait?condition=stopped&condition=exited&interval=50ms"]
        );
    }

    #[tokio::test]
    async fn only_what_is_asked_for_is_measured() {
        let none = json!({"Error": null, "Stats": null});
        let missing = "unable to get list of containers: unable to look up container b: no \
                       container with name or ID \"b\" found: no such container";
        let (fake, podman) =
            podman([Answer::json(200, none), Answer::error(404, "no such container", missing)]);
        let both = ["a".to_owned(), "b".to_owned()];
        assert_eq!(podman.stats(&[]).await.unwrap(), []);
        assert_eq!(podman.stats(&both[..1]).await.unwrap(), []);
        assert!(podman.stats(&both).await.unwrap_err().is_not_found());
        assert!(podman.stats(&["a&all=true".to_owned()]).await.is_err());
        assert_eq!(
            heads(&fake),
            [
                "GET /containers/stats?stream=false&containers=a",
                "GET /containers/stats?stream=false&containers=a&containers=b",
            ]
        );
    }

    #[tokio::test]
    async fn what_is_so_already_is_a_success() {
        let fake = FakePodman::always(|_| Answer::json(304, Value::Null));
        let podman = Podman::new(fake.socket().to_owned());
        podman.start_container("c").await.unwrap();
        podman.stop_container("c", 1).await.unwrap();
        podman.stop_pod("p", 1).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_volume_never_costs_another_one() {
        // Podman would take `a-project` for the beginning of `a-project-project`.
        for answer in [
            Answer::error(404, "no such volume", "no such volume"),
            Answer::json(200, json!({"Name": "a-project-project"})),
        ] {
            let (fake, podman) = podman([answer]);
            assert!(podman.remove_volume("a-project", true).await.unwrap_err().is_not_found());
            assert_eq!(heads(&fake), ["GET /volumes/a-project/json"]);
        }
        let (fake, podman) =
            podman([Answer::json(200, json!({"Name": "v"})), Answer::json(204, Value::Null)]);
        podman.remove_volume("v", false).await.unwrap();
        assert_eq!(heads(&fake), ["GET /volumes/v/json", "DELETE /volumes/v?force=false"]);
    }

    #[tokio::test]
    async fn a_name_that_would_lead_elsewhere_is_never_sent() {
        let (fake, podman) = podman([]);
        for name in ["", ".", "..", "../x", "a/b", "a b", "-a", "a%2Fb", "a?b", "ü"] {
            let errors = [
                podman.remove_container(name, true).await.unwrap_err(),
                podman.remove_pod(name, true, 0).await.unwrap_err(),
                podman.remove_volume(name, true).await.unwrap_err(),
                podman
                    .create_pod(&PodSpec { name: name.into(), ..PodSpec::default() })
                    .await
                    .unwrap_err(),
            ];
            assert!(errors.iter().all(|error| matches!(error, PodmanError::BadName { .. })));
        }
        for name in ["", "/a", "a//b", "a:", "../a", "a b"] {
            let error = podman.remove_image(name, true).await.unwrap_err();
            assert!(matches!(error, PodmanError::BadName { .. }), "{name}");
        }
        assert!(fake.requests().is_empty());
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_not_taken_for_one() {
        let cases = [
            // A missing object to whoever looks at the status only.
            Answer::json(404, json!("<html>")),
            Answer::json(301, Value::Null),
            Answer::json(200, json!({"hello": "world"})),
            Answer::json(200, json!([])),
            Answer::Nonsense(b"SSH-2.0-OpenSSH_10.0\r\n".to_vec()),
        ];
        for answer in cases {
            let fake = FakePodman::always(move |_| answer.clone());
            let podman = Podman::new(fake.socket().to_owned());
            let error = podman.inspect_pod("p").await.unwrap_err();
            assert!(matches!(error, PodmanError::Nonsense { .. }), "{error:?}");
            assert_eq!(error.kind(), ErrorKind::Other);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_told_from_none() {
        let fake = FakePodman::always(|_| Answer::ChunkedTruncated(b"[{\"Id".to_vec()));
        let podman = Podman::new(fake.socket().to_owned());
        let error = podman.pods(&[]).await.unwrap_err();
        assert!(matches!(error, PodmanError::Cut { .. }), "{error:?}");

        let error = Podman::new("/nowhere/podman.sock".into()).info().await.unwrap_err();
        assert_eq!(error.to_string(), "podman is not available at /nowhere/podman.sock");
    }

    #[tokio::test]
    async fn a_list_of_errors_is_read_like_one() {
        let bind = "starting container ce4: pasta failed with exit code 1:\nFailed to bind port 1 \
                    (Address already in use) for option '-t 1'\n";
        let answer = Answer::json(409, json!({"Errs": ["a", bind], "Id": "c8", "RawInput": "q"}));
        let (_fake, podman) = podman([answer]);
        let error = podman.stop_pod("q", 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PortTaken);
        assert!(error.to_string().starts_with("podman refused POST /pods/q/stop?t=1: a; starting"));
    }
}
