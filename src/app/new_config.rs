//! Applies a new configuration between two sessions.

use super::build;
use super::mirror::MirrorService;
use crate::aws::Aws;
use crate::config::Config;
use crate::transfer::{Instrumented, S3};
use std::sync::Arc;

impl MirrorService {
    /// Resolves when the configuration differs from the one in use.
    pub(super) fn reconfigured(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut wanted = self.reload.wanted.clone();
        async move {
            if wanted.changed().await.is_err() {
                // There will be no other.
                std::future::pending().await
            }
        }
    }

    /// Uses the latest configuration from now on.
    pub(super) fn apply_new_config(&mut self) {
        let config = Arc::clone(&self.reload.wanted.borrow_and_update());
        if *config == self.context.config {
            return;
        }
        if let Err(why) = self.rebuild_from(&config) {
            // It was validated, but a file that it names may be gone.
            tracing::error!(
                event = "config.reload_failed",
                error.message = why,
                "the new configuration cannot be taken up; all of it stays as it was"
            );
            return;
        }
        self.context.config = Config::clone(&config);
    }

    fn rebuild_from(&mut self, config: &Config) -> Result<(), String> {
        let filter = build::filter(config)?;
        let rules = build::rules(config)?;
        let connections = build::aws(config);
        if connections != build::aws(&self.context.config) {
            let aws = self.aws.with_connections(&connections);
            let aws: Aws = aws.map_err(|error| error.to_string())?;
            let s3 = S3::new(&aws, build::s3(config, &self.owner));
            self.s3 = Instrumented::new(s3, self.context.telemetry.recorder.clone());
        }
        (self.filter, self.rules) = (filter, rules);
        Ok(())
    }
}
