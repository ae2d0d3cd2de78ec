# The statements of deploy/policy.json, or with delete_policy "keep" those of deploy/policy-keep.json.
data "aws_iam_policy_document" "mirror" {
  statement {
    sid       = "Objects"
    actions   = ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"]
    resources = [local.objects_arn]
  }

  statement {
    sid       = "Bucket"
    actions   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.files.arn]
  }

  dynamic "statement" {
    for_each = var.delete_policy == "keep" ? [] : [local.objects_arn]

    content {
      sid       = "Deletes"
      actions   = ["s3:DeleteObject"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.delete_policy == "keep" ? ["${aws_s3_bucket.files.arn}/*"] : []

    content {
      sid       = "KeepObjects"
      effect    = "Deny"
      actions   = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.tag_objects ? [local.objects_arn] : []

    content {
      sid       = "ObjectTags"
      actions   = ["s3:PutObjectTagging"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [var.kms_key_arn]

    content {
      sid       = "Key"
      actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = aws_cloudfront_distribution.files

    content {
      sid       = "Invalidations"
      actions   = ["cloudfront:CreateInvalidation", "cloudfront:GetInvalidation"]
      resources = [statement.value.arn]
    }
  }
}

resource "aws_iam_policy" "mirror" {
  name_prefix = "file-sync-service-"
  description = "Everything that file-sync-service does in AWS"
  policy      = data.aws_iam_policy_document.mirror.json
}

data "aws_iam_policy_document" "irsa" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_issuer}:sub"
      values   = ["system:serviceaccount:${var.namespace}:${var.service_account}"]
    }
  }
}

resource "aws_iam_role" "irsa" {
  count              = var.oidc_provider_arn == "" ? 0 : 1
  name_prefix        = "file-sync-service-"
  assume_role_policy = data.aws_iam_policy_document.irsa.json
}

resource "aws_iam_role_policy_attachment" "irsa" {
  count      = length(aws_iam_role.irsa)
  role       = aws_iam_role.irsa[0].name
  policy_arn = aws_iam_policy.mirror.arn
}

data "aws_iam_policy_document" "pod_identity" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/eks-cluster-name"
      values   = [var.cluster_name]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-namespace"
      values   = [var.namespace]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-service-account"
      values   = [var.service_account]
    }
  }
}

resource "aws_iam_role" "pod_identity" {
  count              = var.cluster_name == "" ? 0 : 1
  name_prefix        = "file-sync-service-"
  assume_role_policy = data.aws_iam_policy_document.pod_identity.json
}

resource "aws_iam_role_policy_attachment" "pod_identity" {
  count      = length(aws_iam_role.pod_identity)
  role       = aws_iam_role.pod_identity[0].name
  policy_arn = aws_iam_policy.mirror.arn
}

resource "aws_eks_pod_identity_association" "mirror" {
  count           = length(aws_iam_role.pod_identity)
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.pod_identity[0].arn
}

data "aws_iam_policy_document" "ec2" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "ec2" {
  count              = var.ec2_role ? 1 : 0
  name_prefix        = "file-sync-service-"
  assume_role_policy = data.aws_iam_policy_document.ec2.json
}

resource "aws_iam_role_policy_attachment" "ec2" {
  count      = length(aws_iam_role.ec2)
  role       = aws_iam_role.ec2[0].name
  policy_arn = aws_iam_policy.mirror.arn
}

resource "aws_iam_instance_profile" "ec2" {
  count       = length(aws_iam_role.ec2)
  name_prefix = "file-sync-service-"
  role        = aws_iam_role.ec2[0].name
}
