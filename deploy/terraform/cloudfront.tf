resource "aws_cloudfront_origin_access_control" "files" {
  count                             = var.distribution ? 1 : 0
  name                              = var.bucket_name
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

# The path alone is the key, so that an invalidation of a path removes every copy.
resource "aws_cloudfront_cache_policy" "files" {
  count       = var.distribution ? 1 : 0
  name        = "${replace(var.bucket_name, ".", "-")}-files"
  min_ttl     = 0
  default_ttl = var.default_ttl_seconds
  max_ttl     = 31536000

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_brotli = true
    enable_accept_encoding_gzip   = true

    cookies_config {
      cookie_behavior = "none"
    }

    headers_config {
      header_behavior = "none"
    }

    query_strings_config {
      query_string_behavior = "none"
    }
  }
}

resource "aws_cloudfront_distribution" "files" {
  count           = var.distribution ? 1 : 0
  enabled         = true
  comment         = "Files of ${var.bucket_name}/${var.prefix}"
  http_version    = "http2and3"
  is_ipv6_enabled = true
  price_class     = "PriceClass_All"
  aliases         = var.alias == "" ? [] : [var.alias]

  origin {
    origin_id                = "s3"
    domain_name              = aws_s3_bucket.files.bucket_regional_domain_name
    origin_path              = var.prefix == "" ? "" : "/${var.prefix}"
    origin_access_control_id = aws_cloudfront_origin_access_control.files[0].id
  }

  dynamic "origin" {
    for_each = var.application_domain == "" ? [] : [var.application_domain]

    content {
      origin_id   = "application"
      domain_name = origin.value
      origin_path = var.application_path

      custom_origin_config {
        http_port              = 80
        https_port             = 443
        origin_protocol_policy = "https-only"
        origin_ssl_protocols   = ["TLSv1.2"]
      }
    }
  }

  # S3 first. A file that is not mirrored yet comes from the application.
  dynamic "origin_group" {
    for_each = var.application_domain == "" ? [] : [var.application_domain]

    content {
      origin_id = "s3-then-application"

      failover_criteria {
        status_codes = [403, 404]
      }

      member {
        origin_id = "s3"
      }

      member {
        origin_id = "application"
      }
    }
  }

  default_cache_behavior {
    target_origin_id       = var.application_domain == "" ? "s3" : "s3-then-application"
    viewer_protocol_policy = "redirect-to-https"
    # An origin group fails over for these methods only.
    allowed_methods = ["GET", "HEAD", "OPTIONS"]
    cached_methods  = ["GET", "HEAD"]
    cache_policy_id = aws_cloudfront_cache_policy.files[0].id
    compress        = true
  }

  # A file may be there a moment later.
  custom_error_response {
    error_code            = 403
    error_caching_min_ttl = 5
  }

  custom_error_response {
    error_code            = 404
    error_caching_min_ttl = 5
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    cloudfront_default_certificate = var.alias == ""
    acm_certificate_arn            = var.alias == "" ? null : var.certificate_arn
    ssl_support_method             = var.alias == "" ? null : "sni-only"
    minimum_protocol_version       = var.alias == "" ? "TLSv1" : "TLSv1.2_2021"
  }
}
