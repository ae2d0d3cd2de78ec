output "bucket_name" {
  value = aws_s3_bucket.files.id
}

output "policy_arn" {
  value = aws_iam_policy.mirror.arn
}

output "irsa_role_arn" {
  value = one(aws_iam_role.irsa[*].arn)
}

output "pod_identity_role_arn" {
  value = one(aws_iam_role.pod_identity[*].arn)
}

output "instance_profile_name" {
  value = one(aws_iam_instance_profile.ec2[*].name)
}

output "distribution_id" {
  description = "For cloudfront_distribution_id."
  value       = one(aws_cloudfront_distribution.files[*].id)
}

output "distribution_domain" {
  value = one(aws_cloudfront_distribution.files[*].domain_name)
}
