#include "cache/repository.h"

#include <gtest/gtest.h>

namespace thaw::cache {
namespace {

TEST(RepositoryTest, OneRepositoryHasManyUrls) {
  for (const char* url :
       {"git@github.com:acme/shop.git", "git@github.com:acme/shop", "git@github.com:/acme/shop",
        "https://github.com/acme/shop", "https://github.com/acme/shop/",
        "https://github.com/acme/shop.git/", "HTTPS://GitHub.com/Acme/Shop.git",
        "https://user@github.com/acme/shop", "https://user:s3cr%20et@github.com/acme/shop.git",
        "https://github.com:443/acme/shop", "http://github.com:80/acme/shop",
        "ssh://git@github.com/acme/shop.git", "ssh://git@github.com:22/Acme/shop",
        "git+ssh://git@github.com/acme/shop", "git://github.com/acme/shop.git"}) {
    EXPECT_EQ(repository_of(url).value_or(""), "github.com/acme/shop") << url;
    EXPECT_TRUE(is_same_repository(url, "git@github.com:acme/shop.git")) << url;
  }
}

// Each could be taken for ours by a program that reads URLs in its own way.
TEST(RepositoryTest, WhatIsNotPlainIsAnother) {
  for (const char* url : {"https://evil.com?@github.com/acme/shop",
                          "https://evil.com#@github.com/acme/shop",
                          "https://evil.com\\@github.com/acme/shop",
                          "https://evil.com/@github.com/acme/shop",
                          "https://a@evil.com@github.com/acme/shop",
                          "https://github.com@evil.com/acme/shop",
                          "https://github.com:acme@evil.com/acme/shop",
                          "https://github.com:8443/acme/shop",
                          "https://github.com:/acme/shop",
                          "https://github.com:0443/acme/shop",
                          "https://github.com:443x/acme/shop",
                          "https://github.com.evil.com/acme/shop",
                          "https://evilgithub.com/acme/shop",
                          "https://github.com./acme/shop",
                          "https://.github.com/acme/shop",
                          "https://github.com/mallory/shop",
                          "https://github.com/mallory/../acme/shop",
                          "https://github.com/./acme/shop",
                          "https://github.com//acme/shop",
                          "https://github.com/acme//shop",
                          "https://github.com/acme/shop//",
                          "https://github.com/acme/shop?x=.git",
                          "https://github.com/acme/shop#.git",
                          "https://github.com/acme%2fshop",
                          "https://github.com/acme/sh%6fp",
                          "https://github.com/acme/shop.git.git",
                          "https://github.com/acme/shop/x",
                          "https://github.com/acme",
                          "https://github.com/",
                          "https://github.com",
                          "https:///acme/shop",
                          "https://[::1]/acme/shop",
                          "https://github.com/acme/shop ",
                          " https://github.com/acme/shop",
                          "https://github.com/acme/shop\n",
                          "https://g\xc3\xadthub.com/acme/shop",
                          "ext://github.com/acme/shop",
                          "file:///github.com/acme/shop",
                          "://github.com/acme/shop",
                          "github.com/acme/shop",
                          "acme/shop",
                          "",
                          "mallory@github.com:acme/shop",
                          "github.com:acme/shop",
                          "ssh://mallory@github.com/acme/shop",
                          "ssh://github.com/acme/shop",
                          "ssh://git@github.com:2222/acme/shop",
                          "git@evil.com:acme/shop",
                          "git@github.com@evil.com:acme/shop",
                          "git@evil.com:github.com:acme/shop",
                          "git@github.com:~mallory/acme/shop",
                          "git@github.com:2222/acme/shop",
                          "git@github.com:acme/shop.git?",
                          "git@:acme/shop",
                          "@github.com:acme/shop",
                          "-oProxyCommand=x@github.com:acme/shop"}) {
    EXPECT_FALSE(is_same_repository(url, "git@github.com:acme/shop.git")) << url;
    EXPECT_FALSE(is_same_repository("https://github.com/acme/shop", url)) << url;
    EXPECT_TRUE(is_same_repository(url, url)) << url;
  }
}

TEST(RepositoryTest, TheCaseOfAPathCountsWhereWeDoNotKnowBetter) {
  EXPECT_FALSE(is_same_repository("https://host/acme/shop", "https://host/Acme/shop"));
  EXPECT_TRUE(is_same_repository("https://HOST/acme/shop", "git@host:acme/shop.git"));
  EXPECT_TRUE(is_same_repository("https://gitlab.com/A/b/C", "git@gitlab.com:a/b/c.git"));
}

TEST(RepositoryTest, PortsAndUsersCount) {
  EXPECT_TRUE(is_same_repository("https://host:8443/a/b", "https://x@host:8443/a/b.git"));
  EXPECT_FALSE(is_same_repository("https://host:8443/a/b", "https://host/a/b"));
  EXPECT_FALSE(is_same_repository("ssh://git@host:443/a/b", "https://host/a/b"));
  EXPECT_TRUE(is_same_repository("me@host:a/b", "ssh://me@host/a/b.git"));
  EXPECT_FALSE(is_same_repository("me@host:a/b", "you@host:a/b"));
}

}  // namespace
}  // namespace thaw::cache
