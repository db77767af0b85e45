// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/names.h"

#include <set>

#include "streamline/arch/activation.h"
#include "streamline/arch/role.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

TEST(Role, NamesAreReadBack) {
  for (int i = 0; i <= static_cast<int>(kLastRole); ++i) {
    const Role role = static_cast<Role>(i);
    EXPECT_EQ(parse_role(role_name(role)), role);
  }
  EXPECT_EQ(parse_role("q_proj"), std::nullopt);
  EXPECT_FALSE(is_layer_role(Role::head));
  EXPECT_TRUE(is_layer_role(Role::attention_norm));
  EXPECT_TRUE(is_attention_role(Role::k_norm));
  EXPECT_FALSE(is_attention_role(Role::mlp_norm));
}

TEST(Activation, NamesAreReadBack) {
  for (const Activation activation : {Activation::silu, Activation::relu, Activation::gelu, Activation::gelu_tanh})
    EXPECT_EQ(parse_activation(activation_name(activation)), activation);
  EXPECT_EQ(parse_activation("gelu_new"), Activation::gelu_tanh);
  EXPECT_EQ(parse_activation("mish"), std::nullopt);
}

TEST(Names, FollowTheFamily) {
  const Family& llama = *find_family("llama");
  EXPECT_EQ(tensor_name(llama, 17, Role::up, Part::weight), "model.layers.17.mlp.up_proj.weight");
  EXPECT_EQ(tensor_name(llama, -1, Role::head, Part::weight), "lm_head.weight");
  EXPECT_EQ(tensor_name(llama, 0, Role::q_norm, Part::weight), "");
  EXPECT_EQ(tensor_name(*find_family("opt"), 3, Role::o, Part::bias), "model.decoder.layers.3.self_attn.out_proj.bias");
  EXPECT_EQ(expert_tensor_name(*find_family("mixtral"), 2, 5, Role::up, Part::weight),
            "model.layers.2.block_sparse_moe.experts.5.w3.weight");
  EXPECT_EQ(expert_tensor_name(llama, 2, 5, Role::up, Part::weight), "");
  EXPECT_EQ(extension_tensor_name(llama, 13, Role::up, Part::bias), "model.layers.13.replacement.up.bias");
}

TEST(Names, OfLayersAreTakenApartAndPutTogether) {
  const Family& llama = *find_family("llama");
  const auto parsed = parse_layer_tensor(llama, "model.layers.17.mlp.up_proj.weight");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->layer, 17);
  EXPECT_EQ(layer_tensor(llama, 4, parsed->suffix), "model.layers.4.mlp.up_proj.weight");
  for (const char* other :
       {"model.norm.weight", "model.layers.x.w", "model.layers.", "model.layers..w", "model.layers.3",
        "model.layers.3.", "model.layers.03.w", "model.layers.-1.w", "model.layers.9999999999.w"})
    EXPECT_FALSE(parse_layer_tensor(llama, other)) << other;
}

TEST(Families, AreRegisteredOnceWithDistinctNames) {
  std::set<std::string_view> types;
  for (const Family* family : families()) {
    SCOPED_TRACE(family->name);
    for (const std::string_view type : family->model_types) {
      EXPECT_TRUE(types.insert(type).second) << type;
      EXPECT_EQ(find_family(type), family);
    }
    std::set<std::string_view> names;
    for (const auto* list : {&family->layer_names, &family->global_names})
      for (const RoleName& entry : *list) {
        EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
        EXPECT_EQ(is_layer_role(entry.role), list == &family->layer_names);
      }
  }
  EXPECT_EQ(find_family("gpt_bigcode"), nullptr);
}

}  // namespace
}  // namespace streamline
