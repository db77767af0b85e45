// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/template.h"

#include "tests/support/core/expect.h"

namespace streamline {
namespace {

const Json kFields = {
    {"text", "Ärger im Büro"},
    {"n", 2},
    {"yes", true},
    {"words", {"a", "b", "c", "d"}},
    {"question", {{"stem", "Why?"}, {"choices", {{{"text", "so"}, {"label", "A"}}, {{"text", "no"}, {"label", "B"}}}}}},
};

std::string text(const std::string& pattern) { return Template(pattern, "t").text(kFields); }
Json value(const std::string& pattern) { return Template(pattern, "t").value(kFields); }

TEST(Template, PutsFieldsIntoText) {
  EXPECT_EQ(text("Q: {{question.stem}}\nA:"), "Q: Why?\nA:");
  EXPECT_EQ(text("no field"), "no field");
  EXPECT_EQ(text(""), "");
  EXPECT_EQ(text("{{n}} and {{ yes }}"), "2 and true");
  EXPECT_EQ(text("{{'{{ }}'}}"), "{{ }}");
  EXPECT_EQ(text("a } {b} }}"), "a } {b} }}");
}

TEST(Template, KeepsTheKindOfASingleExpression) {
  EXPECT_EQ(value("{{words}}"), kFields["words"]);
  EXPECT_EQ(value("{{n}}"), 2);
  EXPECT_EQ(value(" {{n}}"), " 2");
  EXPECT_EQ(value("{{['x', n]}}"), Json({"x", 2}));
}

TEST(Template, TakesMembersOfEveryElementOfAList) {
  EXPECT_EQ(value("{{question.choices.text}}"), Json({"so", "no"}));
  EXPECT_EQ(text("{{question.choices[1].label}}"), "B");
  EXPECT_EQ(text("{{question['stem']}}"), "Why?");
}

TEST(Template, CutsListsAndTextsAsPythonDoes) {
  EXPECT_EQ(text("{{words[0]}}{{words[-1]}}{{words[n]}}"), "adc");
  EXPECT_EQ(value("{{words[1:3]}}"), Json({"b", "c"}));
  EXPECT_EQ(value("{{words[:-1]}}"), Json({"a", "b", "c"}));
  EXPECT_EQ(value("{{words[9:]}}"), Json::array());
  EXPECT_EQ(value("{{words[3:1]}}"), Json::array());
  EXPECT_EQ(text("{{text[0]}}|{{text[1:5]}}|{{text[-4:]}}"), "Ä|rger|Büro");
}

TEST(Template, FiltersFromLeftToRight) {
  EXPECT_EQ(text("{{'  x y\n' | strip | upper}}"), "X Y");
  EXPECT_EQ(text("{{text | lower}}|{{text | upper}}"), "ärger im büro|ÄRGER IM BÜRO");
  EXPECT_EQ(text("{{'öL UND Essig' | capitalize}}"), "Öl und essig");
  EXPECT_EQ(text("{{'öL' | upper_first}}|{{'The End' | lower_first}}|{{'' | lower_first}}"), "ÖL|the End|");
  EXPECT_EQ(text("{{'aaa' | replace('aa', 'b')}}"), "ba");
  EXPECT_EQ(text("{{'a [b] c' | sub('\\[.*?\\]', '')}}"), "a  c");
  EXPECT_EQ(text("{{'is. he' | sub('(?<=[.] )(\\p{Ll}.*)\\z', '\\u$1')}}"), "is. He");
  EXPECT_EQ(text("{{'a_b_c' | before('_')}}|{{'a_b_c' | after('_')}}"), "a|b_c");
  EXPECT_EQ(text("{{'a_b_c' | before_last('_')}}|{{'a_b_c' | after_last('_')}}"), "a_b|c");
  EXPECT_EQ(text("{{'Über alles' | skip('Üb', 'er')}}|{{'x' | skip('long')}}"), " alles|");
  EXPECT_EQ(text("{{'3' | integer | add(-1)}}|{{words | size}}"), "2|4");
}

TEST(Template, SplitsAndJoins) {
  EXPECT_EQ(value("{{'a: b: c' | split(': ')}}"), Json({"a", "b", "c"}));
  EXPECT_EQ(value("{{'a: b: c: d' | split(': ', 2)}}"), Json({"a", "b", "c: d"}));
  EXPECT_EQ(text("{{('a: b: c: d' | split(': ', 2))[-1]}}"), "c: d");
  EXPECT_EQ(value("{{' a  b ' | split(' ')}}"), Json({"", "a", "", "b", ""}));
  EXPECT_EQ(value("{{' a \n b ' | words}}"), Json({"a", "b"}));
  EXPECT_EQ(text("{{words[:2] | join(' and ')}}"), "a and b");
}

TEST(Template, PutsOneTextInPlaceOfSeveral) {
  EXPECT_EQ(text("{{words | put(1, 2, '* b c *') | put(3, 1, '#d#') | join(' ')}}"), "a * b c * #d#");
}

TEST(Template, FindsPositions) {
  EXPECT_EQ(value("{{'B' | position_in(question.choices.label)}}"), 1);
  EXPECT_EQ(value("{{yes | position_in(['false', 'true'])}}"), 1);
  EXPECT_EQ(value("{{n | position_in([1, 2])}}"), 1);
}

TEST(Template, AppliesFiltersOfTextsToEveryElement) {
  EXPECT_EQ(value("{{words | upper}}"), Json({"A", "B", "C", "D"}));
  EXPECT_EQ(value("{{question.choices.text | replace('o', '0')}}"), Json({"s0", "n0"}));
}

TEST(Template, KnowsWhichFieldsItUses) {
  EXPECT_TRUE(Template("a {{words[n] | upper}}", "t").uses("n"));
  EXPECT_FALSE(Template("n {{words.n}}", "t").uses("n"));
}

TEST(Template, SaysWhatIsWrongInIt) {
  EXPECT_ERROR(Template("a {{b", "f.yaml: choice"), format, "f.yaml: choice: '{{b' has no closing }}");
  EXPECT_ERROR(Template("a \xff", "f"), format, "f: not valid UTF-8 at byte 2");
  EXPECT_ERROR(Template("{{}}", "f"), format, "expected a field");
  EXPECT_ERROR(Template("{{a b}}", "f"), format, "'{{a b}}': expected the end before 'b'");
  EXPECT_ERROR(Template("{{a[1}}", "f"), format, "expected ']'");
  EXPECT_ERROR(Template("{{(a}}", "f"), format, "expected ')'");
  EXPECT_ERROR(Template("{{'a}}", "f"), format, "has no closing }}");
  EXPECT_ERROR(Template("{{a | upcase}}", "f"), format, "no filter 'upcase' (strip, lower,");
  EXPECT_ERROR(Template("{{a | replace('x')}}", "f"), format, "the filter replace has 2 arguments, not 1");
  EXPECT_ERROR(Template("{{a | sub(b, '')}}", "f"), format, "a pattern is a constant text");
  EXPECT_ERROR(Template("{{a | sub('(', '')}}", "f"), format, "pattern '(' is not a regular expression");
  EXPECT_ERROR(Template("{{99999999999999999999}}", "f"), format, "expected an integer");
  std::string deep = "a";
  for (int i = 0; i < 100; ++i) deep = "(" + deep + ")";
  EXPECT_ERROR(Template("{{" + deep + "}}", "f"), format, "expected fewer levels");
}

TEST(Template, SaysWhichValueDoesNotFit) {
  EXPECT_ERROR(text("{{other}}"), format, "there is no field 'other'");
  EXPECT_ERROR(text("{{question.answer}}"), format, "there is no 'answer' in {\"stem\":\"Why?\"");
  EXPECT_ERROR(text("{{words[4]}}"), format, "there is no element 4 in");
  EXPECT_ERROR(text("{{n[0]}}"), format, "2 has no elements");
  EXPECT_ERROR(text("{{words}}"), format, "is no text");
  EXPECT_ERROR(text("{{'E' | position_in(words)}}"), format, "position_in: 'E' is none of a, b, c, d");
  EXPECT_ERROR(text("{{'x' | integer}}"), format, "'x' is no integer");
  EXPECT_ERROR(text("{{text | join('')}}"), format, "is no list");
  EXPECT_ERROR(text("{{text | after('?')}}"), format, "after: there is no '?' in 'Ärger");
  EXPECT_ERROR(text("{{words | put(3, 2, 'x')}}"), format, "no elements 3 to 3 + 1 among 4");
  EXPECT_ERROR(text("{{text | split('')}}"), format, "nothing to split at");
}

}  // namespace
}  // namespace streamline
