//! `doctor`: builds what its checks need from the configuration.

use crate::app::build;
use crate::app::survival::StateSurvival;
use crate::app::{first_binding, memory_limit, owner_of, target, watched_dir};
use crate::aws::Aws;
use crate::cli::{Exit, ReportWriter};
use crate::clock::unix_millis;
use crate::config::{CloudFrontConfig, Config, DeletePolicy, WatchMode};
use crate::doctor::{
    BucketAddress, BucketCheck, CheckVerdict, Diagnosis, DiagnosisReporter, DirectoryCheck,
    PROBED_NAME, StateCheck,
};
use crate::endpoint_url::masked_urls;
use crate::engine::control;
use crate::invalidate::{CloudFrontInvalidator, Invalidator};
use crate::model::{MonthCount, PathBatch, RelPath, Version};
use crate::root::now_ns;
use crate::store::Store;
use crate::telemetry;
use crate::transfer::{ObjectMetadata, S3};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;
use tokio::net::TcpStream;

/// Maximum time to reach a collector.
const COLLECTOR_PATIENCE: Duration = Duration::from_secs(5);
const LIMITS: &str = "/proc/sys/fs/inotify";

/// How many checks ended how.
#[derive(Debug, Default)]
struct VerdictCounts {
    good: u64,
    warnings: u64,
    problems: u64,
    skipped: u64,
}

/// Tries everything that the daemon needs, and reports it.
pub async fn doctor(
    mut config: Config,
    environment: &BTreeMap<OsString, OsString>,
    mut writer: ReportWriter,
) -> Exit {
    let mut counts = VerdictCounts::default();
    let mut report = |diagnosis: Diagnosis| {
        let count = match diagnosis.verdict {
            CheckVerdict::Good => &mut counts.good,
            CheckVerdict::Warning => &mut counts.warnings,
            CheckVerdict::Problem => &mut counts.problems,
            CheckVerdict::Skipped => &mut counts.skipped,
        };
        *count += 1;
        writer.check(&json!({
            "check": diagnosis.check, "result": diagnosis.verdict.as_str(),
            "message": diagnosis.message, "remedy": diagnosis.remedy,
        }));
    };
    report(Diagnosis::good("configuration", "valid"));
    report(memory(&mut config));
    Box::pin(try_all(&config, &mut report)).await;
    for (signal, endpoint) in telemetry::collectors(environment) {
        report(collector(signal, &endpoint).await);
    }
    let VerdictCounts { good, warnings, problems, skipped } = counts;
    let totals =
        json!({ "ok": good, "warnings": warnings, "problems": problems, "skipped": skipped });
    let summary =
        format!("problems: {problems}, warnings: {warnings}, ok: {good}, skipped: {skipped}");
    let exit = if problems == 0 { Exit::Success } else { Exit::Unexpected };
    writer.end(&totals, &summary, exit)
}

async fn try_all(config: &Config, report: DiagnosisReporter<'_>) {
    directories(config, report).await;
    match Aws::load(build::aws(config)).await {
        Ok(aws) => {
            if credentials(&aws, report).await {
                bucket(config, &aws, report).await;
                if let Some(cloudfront) = &config.cloudfront {
                    report(invalidation(cloudfront, &aws).await);
                }
            } else {
                report(Diagnosis::skipped("bucket", "not tried: there are no credentials"));
            }
        }
        Err(error) => {
            let remedy = "correct AWS_CA_BUNDLE: it has to be a file of certificates in PEM form";
            report(Diagnosis::problem("certificates", error.to_string(), remedy));
        }
    }
}

fn memory(config: &mut Config) -> Diagnosis {
    match memory_limit::fit(config) {
        None => Diagnosis::good("memory", "the memory limit leaves room for transfer_memory_mib"),
        Some(fitted) => Diagnosis::warning(
            "memory",
            fitted.to_string(),
            "raise the memory limit, or lower transfer_memory_mib",
        ),
    }
}

async fn directories(config: &Config, report: DiagnosisReporter<'_>) {
    match build::filter(config) {
        Ok(filter) => {
            let check = DirectoryCheck {
                path: config.watch_path.clone(),
                events: config.watch_mode != WatchMode::Poll,
                poll_seconds: config.poll.interval.as_secs(),
                limits: LIMITS.into(),
            };
            let mut found = Vec::new();
            let walked = tokio::task::spawn_blocking(move || {
                let wanted =
                    |path: &RelPath, is_directory: bool| filter.wants_entry(path, is_directory);
                check.run(&wanted, &mut |diagnosis| found.push(diagnosis));
                found
            });
            match walked.await {
                Ok(found) => found.into_iter().for_each(&mut *report),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        Err(why) => report(Diagnosis::problem("ignore", why, "correct the pattern")),
    }
    report(state(config).await);
}

async fn state(config: &Config) -> Diagnosis {
    let (control, _) = control::channel();
    let survives = StateSurvival::new(config, control).holds();
    let directory = config.state_dir.clone();
    let key = target(config);
    let checked = tokio::task::spawn_blocking(move || {
        let written = StateCheck { path: &directory, survives }.run();
        if written.verdict == CheckVerdict::Problem || !directory.is_dir() {
            return written;
        }
        match Store::open_read_only(&directory, &key) {
            Ok(_) => written,
            Err(error) => Diagnosis::problem(
                "state_dir",
                error.to_string(),
                "move the file aside: the daemon then compares the bucket anew",
            ),
        }
    });
    match checked.await {
        Ok(diagnosis) => diagnosis,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Returns whether requests can be signed, or need no signature.
async fn credentials(aws: &Aws, report: DiagnosisReporter<'_>) -> bool {
    match aws.credentials().await {
        Ok(found) => {
            report(Diagnosis::good("credentials", found));
            true
        }
        Err(why) => {
            let remedy = "provide credentials: an IRSA role, AWS_ACCESS_KEY_ID, or a profile; see docs/PERMISSIONS.md";
            report(Diagnosis::problem("credentials", why, remedy));
            false
        }
    }
}

async fn bucket(config: &Config, aws: &Aws, report: DiagnosisReporter<'_>) {
    let owner = owner_of(None);
    let rules = match build::rules(config) {
        Ok(rules) => rules,
        Err(why) => return report(Diagnosis::problem("object_rules", why, "correct the pattern")),
    };
    let source = watched_dir::mark(&first_binding(config, &owner));
    let object = |name: &str| {
        let path = RelPath::new(name.as_bytes()).ok()?;
        Some(ObjectMetadata {
            key: config.prefix.key(&path).ok()?,
            version: Version { size: BucketCheck::<S3>::BYTES, mtime_ns: 0 },
            mode: 0o100_644,
            file_owner: None,
            head: rules.head(&path),
            source: source.as_str().into(),
            replaces_tags: rules.have_tags(),
        })
    };
    let objects = (object(PROBED_NAME), object(&format!("{PROBED_NAME}-copy")));
    let (Some(object), Some(copy)) = objects else {
        let remedy = "shorten s3_prefix";
        return report(Diagnosis::problem("s3_prefix", "it leaves no room for a key", remedy));
    };
    let check = BucketCheck {
        store: S3::new(aws, build::s3(config, &owner)),
        address: BucketAddress {
            bucket: config.bucket.clone(),
            prefix: config.prefix.as_str().to_owned(),
        },
        object,
        copy,
        keeps: config.delete_policy == DeletePolicy::Keep,
        conditional_writes: config.conditional_writes,
        now_ns,
    };
    check.run(report).await;
}

/// Invalidates one path that no viewer requests.
async fn invalidation(cloudfront: &CloudFrontConfig, aws: &Aws) -> Diagnosis {
    let id = format!("doctor-{:016x}", fastrand::u64(..));
    let batch = PathBatch {
        reference: id.clone(),
        id,
        distribution: cloudfront.distribution_id.clone(),
        paths: vec![format!("/{PROBED_NAME}")],
        month: MonthCount::at(unix_millis()),
        created: unix_millis(),
        accepted: None,
        links: Vec::new(),
    };
    let (answer, _) = CloudFrontInvalidator::new(aws).create(&batch).await;
    match answer {
        Ok(status) => {
            let message = format!("the invalidation {} of one path is accepted", status.id);
            Diagnosis::good("cloudfront", message)
        }
        Err(error) => {
            let remedy = match error.code.as_str() {
                "AccessDenied" => "permit cloudfront:CreateInvalidation on the distribution",
                "NoSuchDistribution" => "correct cloudfront_distribution_id",
                _ => "look up this code in the documentation of CloudFront",
            };
            Diagnosis::problem("cloudfront", format!("{}: {}", error.code, error.message), remedy)
        }
    }
}

/// Connects to the endpoint of a collector.
async fn collector(signal: &'static str, endpoint: &str) -> Diagnosis {
    let shown = masked_urls(endpoint);
    let remedy =
        "correct OTEL_EXPORTER_OTLP_ENDPOINT, or the network policy; mirroring works without";
    let Some(address) = crate::endpoint_url::host_and_port(endpoint) else {
        return Diagnosis::warning("telemetry", format!("{signal}: {shown} is not a URL"), remedy);
    };
    let connected = tokio::time::timeout(COLLECTOR_PATIENCE, TcpStream::connect(&address)).await;
    let failed = match connected {
        Ok(Ok(_)) => return Diagnosis::good("telemetry", format!("{signal}: {shown} is reached")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in 5 s".to_owned(),
    };
    Diagnosis::warning("telemetry", format!("{signal}: {shown}: {failed}"), remedy)
}
