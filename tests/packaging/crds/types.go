// Package crds names the types that the CRDs in this directory are generated from: `go mod tidy` keeps their module.
package crds

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
