// Dates as S3 servers and credential services write them.
#pragma once

#include <optional>
#include <string_view>

#include "base/clock.h"

namespace thaw::s3 {

// ISO 8601 in XML and JSON: "2026-03-01T12:00:00Z", with or without a fraction of up to nine
// digits; in UTC only. From 1970 to 2261, what a Timestamp can say.
std::optional<Timestamp> parse_iso_date(std::string_view text);

// RFC 9110, 5.6.7, in headers: "Fri, 24 May 2013 00:00:00 GMT". The day of the week is not looked
// at.
std::optional<Timestamp> parse_http_date(std::string_view text);

}  // namespace thaw::s3
