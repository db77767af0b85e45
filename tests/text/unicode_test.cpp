// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/unicode.h"

#include "streamline/text/normalizer.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

struct InvalidCase {
  std::string bytes;
  std::size_t offset;
  std::string replaced;
};

TEST(Utf8, InvalidBytesAreFoundAndReplacedPartByPart) {
  const std::vector<InvalidCase> cases = {
      {"\x80", 0, "\uFFFD"},
      {"abcdefgh\xFF!", 8, "abcdefgh\uFFFD!"},
      {"\xC0\xAF", 0, "\uFFFD\uFFFD"},  // overlong
      {"a\xE2\x82", 1, "a\uFFFD"},      // cut short: one part
      {"\xE2\x82"
       "a",
       0, "\uFFFDa"},
      {"\xED\xA0\x80", 0, "\uFFFD\uFFFD\uFFFD"},            // a surrogate
      {"\xF4\x90\x80\x80", 0, "\uFFFD\uFFFD\uFFFD\uFFFD"},  // beyond U+10FFFF
      {"\xF0\x9F\x98\x80\xF0\x9F", 4, "\U0001F600\uFFFD"},
  };
  for (const auto& [bytes, offset, replaced] : cases) {
    EXPECT_EQ(find_invalid_utf8(bytes), offset);
    EXPECT_EQ(replace_invalid_utf8(bytes), replaced);
  }
  EXPECT_EQ(find_invalid_utf8("plain, é, 漢, \U0001F600"), std::nullopt);
}

TEST(Utf8, CodePointsSurviveTheirEncoding) {
  for (char32_t c = 0; c <= 0x10FFFF; c += c < 0x1000 ? 1 : 97) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    ASSERT_EQ(find_invalid_utf8(text), std::nullopt) << static_cast<std::uint32_t>(c);
    ASSERT_TRUE(code_point_at(text, 0).value == c);
    ASSERT_TRUE(last_code_point("x" + text).value == c);
    ASSERT_EQ(static_cast<std::size_t>(code_point_at(text, 0).size), text.size());
  }
}

TEST(ByteAlphabet, HasACharacterForEachByteAndBack) {
  EXPECT_TRUE(byte_level_character(' ') == U'Ġ');
  EXPECT_TRUE(byte_level_character('\n') == U'Ċ');
  EXPECT_TRUE(byte_level_character('a') == U'a');
  for (int byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<unsigned char>(byte);
    EXPECT_EQ(byte_level_byte(byte_level_character(value)), value);
  }
  EXPECT_EQ(byte_level_bytes("Ġa"), " a");
  EXPECT_EQ(byte_level_bytes("a b"), std::nullopt) << "a blank is not of the alphabet";
}

TEST(NormalForm, IsThatOfTheUnicodeStandard) {
  // Marks that join across a letter that stays, Hangul, and a mark at the very beginning.
  EXPECT_EQ(normalize("e\u0301 A\u030A x", NormalForm::c), "é Å x");
  EXPECT_EQ(normalize("é Å", NormalForm::d), "e\u0301 A\u030A");
  EXPECT_EQ(normalize("\u1112\u1161\u11AB", NormalForm::c), "한");
  EXPECT_EQ(normalize("\u0301e\u0301", NormalForm::c), "\u0301é");
  EXPECT_EQ(normalize("a\u0323\u0307", NormalForm::c), normalize("a\u0307\u0323", NormalForm::c));
  EXPECT_EQ(normalize("ﬁ ² Ａ", NormalForm::kc), "fi 2 A");
  EXPECT_EQ(normalize("か\u3099 中\u0301", NormalForm::c), "が 中\u0301");
  EXPECT_EQ(normalize("\u212B", NormalForm::c), "Å") << "the Ångström sign is a letter twice";
}

TEST(CharacterClasses, AreUnicodes) {
  EXPECT_TRUE(is_white_space(0x3000) && is_white_space(0x85) && !is_white_space(0x180E) && !is_white_space(0x200B));
  EXPECT_TRUE(is_numeric(U'½') && is_numeric(U'٣') && is_numeric(U'Ⅷ') && !is_numeric(U'a'));
  EXPECT_TRUE(is_punctuation('$') && is_punctuation('~') && is_punctuation(U'。') && !is_punctuation(U'€'));
  EXPECT_TRUE(is_word('_') && is_word(U'é') && is_word(0x301) && !is_word('-') && !is_word(' '));
}

}  // namespace
}  // namespace streamline
