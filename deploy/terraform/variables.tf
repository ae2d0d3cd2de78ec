variable "bucket_name" {
  description = "Name of the bucket to create."
  type        = string
}

variable "prefix" {
  description = "The same as s3_prefix, without a slash at either end. Empty for the whole bucket."
  type        = string
  default     = "uploads"

  validation {
    condition     = can(regex("^([A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)?$", var.prefix))
    error_message = "The prefix must not begin or end with a slash."
  }
}

variable "old_version_days" {
  description = "How many days replaced and deleted objects can be restored."
  type        = number
  default     = 30
}

variable "kms_key_arn" {
  description = "Your own KMS key for the bucket. Empty for the keys of S3."
  type        = string
  default     = ""
}

variable "delete_policy" {
  description = "The same as delete_policy of the service. With keep, the role cannot delete any object."
  type        = string
  default     = "propagate"

  validation {
    condition     = contains(["propagate", "keep"], var.delete_policy)
    error_message = "The delete policy is propagate or keep."
  }
}

variable "tag_objects" {
  description = "Whether object_rules of the service set tags."
  type        = bool
  default     = false
}

variable "distribution" {
  description = "Whether a CloudFront distribution serves the objects."
  type        = bool
  default     = true
}

variable "application_domain" {
  description = "The host that serves the same files over HTTPS. CloudFront requests a file there if S3 answers 403 or 404. Empty for S3 alone."
  type        = string
  default     = ""
}

variable "application_path" {
  description = "The path of the files on that host, such as /uploads. Empty for the root."
  type        = string
  default     = ""
}

variable "default_ttl_seconds" {
  description = "How long CloudFront caches an object without Cache-Control."
  type        = number
  default     = 86400
}

variable "alias" {
  description = "A domain name of your own for the distribution. Needs certificate_arn."
  type        = string
  default     = ""
}

variable "certificate_arn" {
  description = "A certificate in us-east-1 for alias."
  type        = string
  default     = ""
}

variable "oidc_provider_arn" {
  description = "The IAM OIDC provider of an EKS cluster, for a role for IRSA. Empty for none."
  type        = string
  default     = ""
}

variable "oidc_issuer" {
  description = "The issuer of that provider without https://, such as oidc.eks.eu-central-1.amazonaws.com/id/ABCDEF."
  type        = string
  default     = ""
}

variable "cluster_name" {
  description = "An EKS cluster with the Pod Identity agent, for a role and its association. Empty for none."
  type        = string
  default     = ""
}

variable "namespace" {
  description = "Namespace of the service account."
  type        = string
  default     = "default"
}

variable "service_account" {
  description = "Name of the service account."
  type        = string
  default     = "file-sync-service"
}

variable "ec2_role" {
  description = "Whether to create a role and an instance profile for EC2."
  type        = bool
  default     = false
}
