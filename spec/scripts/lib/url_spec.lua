local fake = require "spec.support.fake_chat"

describe("the URL of a file", function()
  local url = fake.new({ app = false }).require "lib.url"

  for _, text in ipairs {
    "https://files.example.com/a.png",
    "HTTPS://files.example.com",
    "https://files.example.com:8443/a?b=c&d=%20#e",
    "https://8.8.8.8/x",
    "https://172.15.255.255/",
    "https://172.32.0.1/",
    "https://11.0.0.1/",
    "https://192.169.0.1/",
    "https://[2001:db8::1]/x",
    "https://[2001:4860:4860::8888]:443/x",
    "https://[::ffff:8.8.8.8]/",
    "https://xn--bcher-kva.example/",
    "https://10.example.com/",
    "https://fc00.example.com/",
    "https://my_bucket.s3.example.com/",
  } do
    it(text .. " may be shown", function()
      assert.is_true(url.check(text))
    end)
  end

  for _, text in ipairs {
    "", "files/a.png", "/files/a.png", "//files.example.com/a", "http://files.example.com/a", "ftp://a.example/",
    "javascript:alert(1)", "data:text/html,x", "https:/a.example", "https://", "https:///a", "https://?a", "https://:443/",
    " https://a.example", "https://a.example/b c", "https://a.example/\n", "https://a.example/<b>", "https://a.example\\@b.example",
    "https://user@a.example/", "https://a.example@10.0.0.1/", "https://a.example:99999/", "https://a.example:443x/",
    "https://10.0.0.1/", "https://127.0.0.1/", "https://127.0.0.1:8443/a", "https://169.254.169.254/latest/meta-data",
    "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.1.1/", "https://0.0.0.0/", "https://127.1/",
    "https://127.0.0.1./", "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://017700000001/",
    "https://0300.0250.1.1/", "https://4294967296/", "https://256.1.1.1/", "https://1.2.3.4.5/", "https://0xffffffffffffffffff/",
    "https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]:443/", "https://[fc00::1]/", "https://[fdff::]/",
    "https://[fe80::1%25eth0]/", "https://[::ffff:10.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/",
    "https://[1:2:3]/", "https://[::1", "https://[zz::1]/", "https://[1::2::3]/", "https://[]/", "https://[12345::]/",
    "https://localhost/", "https://LOCALHOST:1/", "https://a.localhost/", "https://localhost./", "https://.../",
    "https://%31%30.0.0.1/", "https://１２７.0.0.1/", "https://127。0.0.1/",
  } do
    it(("%q may not"):format(text), function()
      local ok, why = url.check(text)
      assert.is_nil(ok)
      assert.is_string(why)
    end)
  end
end)
